"""One small lab for every end-to-end test: a store, a backbone and three fine-tuned runs."""

from pathlib import Path

import pytest

from radlearn.cli import main
from radlearn.records.phantom_heads import write_heads
from radlearn.records.phantoms import LABEL_NAMES

TUNERS = ("lora", "full", "linear")


def run(*arguments: object) -> int:
    """A command, as the shell would give it."""
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """store/, backbone/, a run a tuner, and pairs/ of scans, made by the commands; read only."""
    folder = tmp_path_factory.mktemp("lab")
    table = phantom_folder / "records.csv"
    prepare = ("prepare", "folder", phantom_folder, folder / "store", "--table", table)
    labels = ("--label-columns", *LABEL_NAMES)
    assert run(*prepare, *labels, "--size", 64, "--val", 0.2, "--test", 0.3) == 0
    pretrain = ("pretrain", folder / "store", "--run", folder / "backbone", "--model", "tiny")
    small = ("--image-size", 32, "--patch", 8, "--batch", 16, "--epochs", 2, "--words", 200)
    assert run(*pretrain, *small) == 0
    for tuner in TUNERS:
        finetune = ("finetune", folder / "store", "--run", folder / tuner, "--tuner", tuner)
        given = ("--init", folder / "backbone", "--steps", 6, "--batch", 8, "--evaluations", 2)
        assert run(*finetune, *given) == 0
    write_heads(folder / "heads", 3, 32, 5)
    pairs = ("--source", "T1", "--target", "T2", "--size", 32, "--val", 0, "--test", 0.34)
    assert run("prepare", "mri-pairs", folder / "heads", folder / "pairs", *pairs) == 0
    return folder
