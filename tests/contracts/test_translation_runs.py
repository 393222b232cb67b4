"""Every mode on every host: trains by the real command, goes on where it stopped, and answers."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from e2e.conftest import run
from radlearn.errors import InputError
from radlearn.generators import GENERATORS
from radlearn.records.phantom_heads import write_heads
from radlearn.translation.config import TranslateConfig
from radlearn.translation.modes import MODES, Weights
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.run import translate

STEPS = 20


def fits(mode: str, host: str) -> bool:
    try:
        build_networks(MODES[mode], NetworksConfig(host, "tiny", side=64))
    except InputError:
        return False
    return True


PAIRS = [(mode, host) for host in GENERATORS for mode in MODES if fits(mode, host)]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """exams/ and a store/ of them, 32 px."""
    folder = tmp_path_factory.mktemp("heads")
    write_heads(folder / "exams", 3, 32, 5)
    names = ("--source", "T1", "--target", "T2", "--size", 32)
    held = ("--test-patients", "head003", "--val", 0)
    assert run("prepare", "mri-pairs", folder / "exams", folder / "store", *names, *held) == 0
    return folder


class Interrupted(Exception):  # noqa: N818 - not an error: a power cut
    """What a test raises in the middle of a run."""


def test_every_host_has_a_mode_with_and_without_registration() -> None:
    for host in GENERATORS:
        modes = {mode for mode, of in PAIRS if of == host}
        assert any(mode.endswith("+r") for mode in modes), host
        assert any(not mode.endswith("+r") for mode in modes), host
    assert {mode for mode, host in PAIRS if host == "resnet"} == set(MODES)


@pytest.mark.parametrize(("mode", "host"), PAIRS, ids=lambda value: value)
def test_trains_goes_on_and_predicts(
    heads: Path, tmp_path: Path, mode: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(name: str) -> TranslateConfig:
        return TranslateConfig(
            (heads / "store",),
            tmp_path / name,
            mode=mode,
            host=host,
            size="tiny",
            misalign=3,
            steps=STEPS,
            evaluations=1,
            precision="float32",
        )

    translate(config("whole"))
    _stop_at(monkeypatch, STEPS - 3)
    with pytest.raises(Interrupted):
        translate(config("stopped"))
    monkeypatch.undo()
    assert not (tmp_path / "stopped" / "results.json").exists()
    assert list((tmp_path / "stopped" / "state").glob("step-*.pt"))
    translate(config("stopped"))
    for name in ("metrics.jsonl", "model/model.safetensors", "predictions.parquet"):
        first, second = (tmp_path / which / name for which in ("whole", "stopped"))
        assert first.read_bytes() == second.read_bytes(), name

    scan = heads / "exams" / "head003" / "T1.nii.gz"
    out = tmp_path / "out"
    assert run("predict", tmp_path / "whole", scan, "--out", out) == 0
    (written,) = out.rglob("*.nii.gz")
    made, given = nibabel.load(written), nibabel.load(scan)
    np.testing.assert_array_equal(made.affine, given.affine)
    assert made.shape == given.shape
    assert np.ptp(made.get_fdata()) > 0


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the batch of a step fail as a killed process would: in the middle of nothing."""
    from radlearn.translation.batches import TranslationBatches

    whole = TranslationBatches.__call__

    def until(self: TranslationBatches, at: int) -> dict[str, object]:
        if at == step:
            raise Interrupted
        return whole(self, at)

    monkeypatch.setattr(TranslationBatches, "__call__", until)


def test_the_weights_of_a_run_are_those_of_its_flags() -> None:
    def weights(mode: str, **flags: float) -> Weights:
        return TranslateConfig((Path("s"),), Path("r"), mode=mode, **flags).trained_mode().weights

    assert weights("nc+r", anchor=0.0) == Weights()
    assert weights("nc+r") == Weights(anchor=1.0)
    assert weights("p2p", adversarial=5.0) == Weights(adversarial=5.0, direct=100.0)
    with pytest.raises(InputError, match="munit weighs its own critics"):
        TranslateConfig((Path("s"),), Path("r"), host="munit", adversarial=0.5)


def test_unpaired_training_and_a_mode_that_needs_pairs(heads: Path, tmp_path: Path) -> None:
    given = (heads / "store", "--run", tmp_path / "run", "--size", "tiny", "--steps", 2)
    assert run("translate", *given, "--mode", "p2p", "--unpaired", True) == 2
    assert run("translate", *given, "--mode", "c", "--unpaired", True) == 0


def test_volumes_by_patches(heads: Path, tmp_path: Path) -> None:
    given = (heads / "store", "--run", tmp_path / "run", "--size", "tiny", "--steps", 2)
    patches = ("--dims", 3, "--patch", 24, 32, 32, "--precision", "float32")
    assert run("translate", *given, *patches, "--misalign", 2, "--elastic", 2) == 0
    scan = heads / "exams" / "head003" / "T1.nii.gz"
    assert run("predict", tmp_path / "run", scan, "--out", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 1


def test_batches_are_a_function_of_seed_and_step(heads: Path) -> None:
    from radlearn.records.pair_store import open_pairs
    from radlearn.translation.batches import TranslationBatches
    from radlearn.translation.misalign import Misalignment

    store = open_pairs(heads / "store")
    places = np.array([(0, 0, part) for part in range(5, 12)], np.int64)

    def batch(step: int, seed: int, unpaired: bool = False) -> torch.Tensor:
        make = TranslationBatches(
            (store,), places, places, unpaired, None, Misalignment(2), 3, seed
        )
        return torch.cat([make(step)["source"], make(step)["target"]])

    assert torch.equal(batch(4, 0), batch(4, 0))
    assert not torch.equal(batch(4, 0), batch(5, 0))
    assert not torch.equal(batch(4, 0), batch(4, 1))
    assert not torch.equal(batch(4, 0), batch(4, 0, unpaired=True))
    assert batch(0, 0).min() == -1.0
    assert batch(0, 0).max() <= 1.0
