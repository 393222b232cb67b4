"""Limits on pixels and bytes, as flags of every command that reads other people's files."""

import shutil
from pathlib import Path

import pytest

from e2e.conftest import run

PAIRS = ("--source", "T1", "--target", "T2", "--size", 32)


@pytest.mark.parametrize("flag", ["--max-pixels", "--max-bytes"])
@pytest.mark.parametrize(
    "command", ["prepare", "mri-pairs", "predict", "translate", "deidentify", "import"]
)
def test_what_is_larger_than_a_flag_allows_is_refused(
    lab: Path, phantom_folder: Path, tmp_path: Path, command: str, flag: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dicom = next(phantom_folder.rglob("*.dcm"))
    exam = sorted(path for path in (lab / "heads").iterdir() if path.is_dir())[0]
    given: dict[str, tuple[object, ...]] = {
        "prepare": (
            *("prepare", "folder", phantom_folder, tmp_path / "store", "--size", 16),
            *("--workers", 0),
        ),
        "mri-pairs": ("prepare", "mri-pairs", lab / "heads", tmp_path / "pairs", *PAIRS),
        "predict": ("predict", lab / "lora", dicom, "--out", tmp_path / "out.csv"),
        "translate": ("predict", lab / "translation", exam, "--out", tmp_path / "out"),
        "deidentify": ("deidentify", dicom.parent, tmp_path / "clean"),
        "import": ("import", lab / "lora" / "model" / "backbone"),
    }
    if command == "translate":
        _translation(lab)
    if flag == "--max-pixels" and command in ("deidentify", "import"):
        pytest.skip("it decodes nothing that it needs, or has no pixels")
    capsys.readouterr()
    assert run(*given[command], flag, 100) == 2
    told = capsys.readouterr().err.strip()
    assert "Traceback" not in told
    assert run(*given[command], flag, 0) == 2
    assert capsys.readouterr().err.strip().endswith(f"{flag} must be above 0")
    for name in ("store", "pairs"):  # those that were begun with the lower limit
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    assert run(*given[command], flag, 2**28) == 0


def _translation(lab: Path) -> None:
    if not (lab / "translation").exists():
        flags = ("--mode", "nc", "--size", "tiny", "--steps", 1, "--evaluations", 1)
        assert run("translate", lab / "pairs", "--run", lab / "translation", *flags) == 0
