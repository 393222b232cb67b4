"""The settings of a pretraining run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.engine.names import DeviceName, OnFault, PrecisionName
from radlearn.errors import InputError, refuse_unless_positive


@dataclass(frozen=True)
class PretrainConfig:
    """Learn a radiograph backbone from images and reports, by masked record modeling.

    Example: radlearn pretrain stores/mimic stores/openi --run runs/mrm --model base --epochs 200
    """

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Prepared stores; their training records are used."""
    run: Path
    """Folder of the run; the same command goes on where it stopped."""
    model: str = "small"
    """tiny, small, base (the paper's), or the name of any timm ViT."""
    objective: Literal["mrm", "image", "report"] = "mrm"
    """Images and reports, images alone (MAE), or reports alone."""
    image_size: int = 224
    """Side the encoder sees, in pixels."""
    target_size: int | None = None
    """Side to rebuild; default: twice image-size, as MRM does."""
    patch: int = 16
    """Side of a patch of the encoder, in pixels."""
    init: Path | None = None
    """Start from an MAE, MRM or timm checkpoint, or from a run."""
    tokenizer: Path | None = None
    """WordPiece JSON; default: one trained on the stores' reports."""
    words: int = 30_000
    """Entries of a tokenizer trained here."""
    report_loss: Literal["masked", "all"] = "masked"
    """Masked tokens (paper), or every position (the authors' code)."""
    mask_ratio: float = 0.75
    """Share of patches hidden."""
    epochs: float = 200.0
    """Passes over the records."""
    warmup: float = 0.2
    """Share of the training spent warming up."""
    batch: int = 256
    """Records a step."""
    lr: float = 1.5e-4
    """Learning rate for a batch of 256; scaled with --batch."""
    weight_decay: float = 0.05
    view: Literal["frontal", "lateral", "all"] = "frontal"
    """Which views to learn from."""
    seed: int = 0
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    on_fault: OnFault = "stop"
    """At an update that is no number or explodes: stop, or leave it out."""
    workers: int = 0
    """Processes that make batches ahead; they change nothing but speed."""

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("no store was given; make one with: radlearn prepare")
        refuse_unless_positive(self, "image_size", "patch", "batch", "epochs", "lr", "words")
        if self.image_size % self.patch:
            raise InputError(
                f"--image-size {self.image_size} is not a multiple of --patch {self.patch}"
            )
        if not 0 < self.mask_ratio < 1 or not 0 <= self.warmup < 1:
            raise InputError("--mask-ratio lies between 0 and 1, --warmup from 0 to below 1")
