"""The settings of a fine-tuning run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.engine.names import DeviceName, PrecisionName
from radlearn.errors import InputError


@dataclass(frozen=True)
class FinetuneConfig:
    """Teach a backbone a store's labels: in full, by LoRA, or its head alone.

    Example: radlearn finetune stores/nih --run runs/lora --init runs/mrm --fraction 0.1
    """

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Prepared stores with labels."""
    run: Path
    """Folder of the run; the same command goes on where it stopped."""
    task: Literal["multi-label"] = "multi-label"
    """What is learned: any number of labels of a picture."""
    init: Path | None = None
    """A pretraining run or a checkpoint (MRM, MAE, timm); default: from scratch."""
    model: str = "small"
    """Size or timm name of the backbone where there is no --init."""
    tuner: Literal["full", "linear", "lora"] = "lora"
    """What trains: everything, the head, or rank-r updates of query and value."""
    rank: int = 4
    """Rank of LoRA."""
    alpha: float = 32.0
    """LoRA's scale: alpha / rank."""
    lora_dropout: float = 0.1
    labels: tuple[str, ...] = ()
    """Labels to learn; default: all of the store that have both classes."""
    uncertain: Literal["ignore", "zero", "one"] = "ignore"
    """What an uncertain label counts as."""
    fraction: float = 1.0
    """Share of the training records; shares nest."""
    image_size: int | None = None
    """Side in pixels; default: the backbone's own."""
    patch: int | None = None
    """Side of a patch where there is no --init; default: the backbone's own."""
    decoder_width: int = 128
    """Channels inside the decoder of a segmentation."""
    inference: Literal["whole", "sliding"] = "whole"
    """Segment a picture at once, or window by window in its own resolution."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    """Learning rate at the top of the schedule."""
    weight_decay: float = 0.05
    layer_decay: float | None = None
    """Learning rate of each layer as a share of the one above it."""
    epochs: float = 50.0
    steps: int | None = None
    """Updates; in place of --epochs."""
    warmup: float = 0.1
    """Share of the training spent warming up."""
    batch: int = 64
    drop_path: float = 0.1
    head_start: Literal["records", "published"] = "records"
    """Start the head from the training records' features and shares, or from 1, 0 and 0."""
    augment: bool | None = None
    """Random crops and flips; default: yes, except for --tuner linear."""
    crop: float = 0.2
    """Smallest share of the image's area that a random crop keeps."""
    evaluations: int = 20
    """How often validation is scored; the best step is kept."""
    view: Literal["frontal", "lateral", "all"] = "frontal"
    seed: int = 0
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("no store was given; make one with: radlearn prepare")
        above = ("rank", "batch", "epochs", "lr", "evaluations", "steps", "image_size", "patch")
        for name in above:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"--{name.replace('_', '-')} must be above 0")
        if not 0 < self.fraction <= 1:
            raise InputError(f"--fraction {self.fraction} does not lie above 0 and up to 1")
        if not 0 <= self.warmup < 1 or not 0 < self.crop <= 1:
            raise InputError("--warmup lies from 0 to below 1, --crop above 0 and up to 1")
