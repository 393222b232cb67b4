"""One tiny translation run for the end-to-end tests, and networks whose answers are known."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from e2e.conftest import run
from radlearn.engine.device import Compute
from radlearn.models.registration import Registration, RegistrationConfig
from radlearn.records.intensity import window_of
from radlearn.records.phantom_heads import write_heads
from radlearn.records.volume import read_volume
from radlearn.translation.inference import Translator

SIDE = 48


@functools.cache
def translation_lab(base: Path) -> Path:
    """heads/, store/ and run/ (NC+R, two steps), made by the commands; read only."""
    folder = base / "translation-lab"
    write_heads(folder / "heads", 3, SIDE, 3)
    named = ("--source", "T1", "--target", "T2", "--size", SIDE)
    prepare = ("prepare", "mri-pairs", folder / "heads", folder / "store", *named)
    assert run(*prepare, "--val", 0.34, "--test", 0) == 0
    translate = ("translate", folder / "store", "--run", folder / "run", "--mode", "nc+r")
    assert run(*translate, "--size", "tiny", "--steps", 2, "--evaluations", 1) == 0
    return folder


class Shown(nn.Module):
    """Answers with one of the channels it sees, and remembers the shapes it was given."""

    def __init__(self, channel: int = 0) -> None:
        super().__init__()
        self.channel = channel
        self.seen: list[tuple[int, ...]] = []

    def forward(self, source: Tensor) -> Tensor:
        self.seen.append(tuple(source.shape))
        return source[:, self.channel : self.channel + 1].clone()


class Shift(Registration):
    """A registration that answers with the same step everywhere."""

    def __init__(self, step: Sequence[float]) -> None:
        super().__init__(RegistrationConfig(1, len(step), (8,), 8, 1))
        self.step = step

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        shape = (len(self.step), *moving.shape[2:])
        step = torch.tensor(self.step).reshape(-1, *[1] * (moving.ndim - 2))
        return step.expand(shape)[None].repeat(len(moving), *[1] * (len(shape)))


def known(
    generator: nn.Module, like: Path, registration: nn.Module | None = None, **changed: Any
) -> Translator:
    """A translator with the networks given; its target's window is that of the scan `like`."""
    window = window_of(read_volume(like).values)
    config = {
        "mode": "nc+r" if registration else "nc",
        "patch": None,
        "axis": "axial",
        "size": [SIDE, SIDE],
        "spacing": None,
        "source_names": ["T1"],
        "target_names": ["T2"],
        "target_windows": [[window.low, window.high]],
        "percentile": 99.5,
    } | changed
    patch = config["patch"]
    here = Compute(torch.device("cpu"), False)
    return Translator(config, generator, registration, patch and tuple(patch), here)


def turned(path: Path, onto: Path, order: tuple[int, int, int], signs: tuple[int, ...]) -> Path:
    """The same scan, stored by other axes and turned a little in space."""
    image = nibabel.load(path)
    ornt = np.array(list(zip(order, signs, strict=True)), float)
    image = image.as_reoriented(ornt)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    made = nibabel.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine, image.header)
    made.set_sform(turn @ image.affine, 1)
    made.set_qform(turn @ image.affine, 1)
    onto.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(made, onto)
    return onto
