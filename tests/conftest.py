"""What every test gets: one thread, checked shapes, phantoms, and where real data may lie."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# Shapes in signatures are checked at every call; it has to come before radlearn is imported.
install_import_hook("radlearn", "shape_checks.checked")

from parity.summary import pytest_terminal_summary  # noqa: E402
from radlearn.records.phantoms import write_phantoms  # noqa: E402

__all__ = ["pytest_terminal_summary"]

ROOT = Path(__file__).resolve().parents[1]
PHANTOM_PATIENTS, PHANTOM_SIZE, PHANTOM_SEED = 24, 64, 3


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two workers on two cores, and sums in the same order on every machine."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder of 24 phantom patients at 64 px and 4 DICOM files; read only."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, PHANTOM_PATIENTS, PHANTOM_SIZE, PHANTOM_SEED)
    return folder


@pytest.fixture(scope="session")
def radlearn_data() -> Path:
    """The folder of real research data; tests that need it are skipped where it is absent."""
    return _outside("RADLEARN_DATA", "../shared/data", "real research data")


@pytest.fixture(scope="session")
def radlearn_parity() -> Path:
    """The folder of numbers computed by the authors' code; skipped where it is absent."""
    return _outside("RADLEARN_PARITY", "../shared/parity", "the authors' numbers")


def _outside(variable: str, default: str, what: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT / default)
    if not folder.is_dir():
        pytest.skip(
            f"needs {what}: set {variable} to the folder that holds them (none at {folder})"
        )
    return folder
