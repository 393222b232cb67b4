"""The settings of a fine-tuning run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.engine.names import DeviceName, OnFault, PrecisionName
from radlearn.errors import InputError, refuse_unless_positive


@dataclass(frozen=True)
class FinetuneConfig:
    """Teach a backbone a store's labels: in full, by LoRA, or its head alone.

    Example: radlearn finetune stores/nih --run runs/lora --init runs/mrm --fraction 0.1
    """

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Prepared stores with labels."""
    run: Path
    """Folder of the run; the same command goes on where it stopped."""
    task: Literal["multi-label", "single-label", "ordinal", "continuous", "segmentation"] = (
        "multi-label"
    )
    """Any number of labels, one class of several, one of a rising scale, a number, or masks."""
    init: Path | None = None
    """A run or a checkpoint (MRM, MAE, timm, Hugging Face); default: from scratch."""
    model: str = "small"
    """Size or timm name of the backbone; with --init only where a file does not say it."""
    tuner: str = "lora"
    """What trains: full, linear (the head), lora, or one of the others in docs/tuners.md."""
    where: str = ""
    """Layers to tune, by the end of their names: "attn.qkv|mlp.fc1"; default: the tuner's own."""
    rank: int = 4
    """Rank of LoRA; of other tuners their size."""
    alpha: float = 32.0
    """LoRA's scale: alpha / rank."""
    lora_dropout: float = 0.1
    tuner_options: tuple[str, ...] = ()
    """Further settings of the tuner as peft calls them: use_rslora=true."""
    labels: tuple[str, ...] = ()
    """Labels to learn; default: all of the store that have both classes."""
    target: str | None = None
    """Column to learn in place of labels: view, sex, age, or a further one of the store."""
    classes: tuple[str, ...] = ()
    """Values of --target to tell apart, of a scale from low to high; default: all."""
    uncertain: Literal["ignore", "zero", "one"] = "ignore"
    """What an uncertain label counts as."""
    fraction: float = 1.0
    """Share of the training records; shares nest."""
    pool: str | None = None
    """Column of study ids: the pictures of a study are answered for together."""
    balance: Literal["none", "weights", "sampling"] = "none"
    """Rare classes weigh more in the loss, or are drawn more often."""
    label_smoothing: float = 0.0
    """Share of each label's certainty that is given up."""
    robust: bool = False
    """A loss that trusts labels less which the model finds unlikely."""
    image_size: int | None = None
    """Side in pixels; default: the backbone's own."""
    patch: int | None = None
    """Side of a patch where there is no --init; default: the backbone's own."""
    channels: Literal[1, 3] | None = None
    """Channels that the backbone sees; default: the backbone's own."""
    decoder_width: int = 128
    """Channels inside the decoder of a segmentation."""
    inference: Literal["whole", "sliding"] = "whole"
    """Segment a picture at once, or window by window in its own resolution."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    """Learning rate at the top of the schedule."""
    lr_floor: float = 0.0
    """Learning rate at its end."""
    weight_decay: float = 0.05
    layer_decay: float | None = None
    """Learning rate of each layer as a share of the one above it."""
    epochs: float = 50.0
    steps: int | None = None
    """Updates; in place of --epochs."""
    warmup: float = 0.1
    """Share of the training spent warming up."""
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    """How the learning rate falls after that; poly: on a line."""
    batch: int = 64
    recompute: bool = False
    """Keep less for the backward pass and compute it again: less memory, up to half slower."""
    drop_path: float = 0.1
    head_start: Literal["records", "published"] = "records"
    """Start the head from the training records' features and shares, or from 1, 0 and 0."""
    augment: Literal["none", "plain", "strong"] | None = None
    """plain: crops and flips, strong: RandAugment too; default: plain, none for linear."""
    crop: float = 0.2
    """Smallest share of the image's area that a random crop keeps."""
    evaluations: int = 20
    """How often validation is scored; the best step is kept."""
    view: Literal["frontal", "lateral", "all"] = "frontal"
    seed: int = 0
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    on_fault: OnFault = "stop"
    """At an update that is no number or explodes: stop, or leave it out."""
    workers: int = 0

    def __post_init__(self) -> None:
        from radlearn.adapters import adapter_named  # torch and timm: not for a help page

        if not self.stores:
            raise InputError("no store was given; make one with: radlearn prepare")
        above = ("rank", "batch", "epochs", "lr", "evaluations", "steps", "image_size", "patch")
        refuse_unless_positive(self, *above, "decoder_width")
        adapter_named(self.tuner)
        if not 0 < self.fraction <= 1:
            raise InputError(f"--fraction {self.fraction} does not lie above 0 and up to 1")
        if not 0 <= self.warmup < 1 or not 0 < self.crop <= 1:
            raise InputError("--warmup lies from 0 to below 1, --crop above 0 and up to 1")
        if not 0 <= self.lr_floor <= self.lr:
            raise InputError("--lr-floor lies from 0 to --lr")
        if not 0 <= self.label_smoothing < 1:
            raise InputError("--label-smoothing lies from 0 to below 1")
        self._check_target()

    def _check_target(self) -> None:
        """Raise InputError where what is to be learned does not go with the task."""
        if self.task in ("ordinal", "continuous") and self.target is None:
            raise InputError(f"--task {self.task} needs --target, the column to learn")
        if self.task in ("multi-label", "segmentation") and (self.target or self.classes):
            raise InputError(
                f"--target and --classes are for one class or number a picture; leave them out "
                f"for --task {self.task}"
            )
        if self.classes and (self.task == "continuous" or self.target is None):
            raise InputError("--classes names the values of a --target that has classes")
        if len(set(self.classes)) < len(self.classes) or len(self.classes) == 1:
            raise InputError("--classes names each class once, and two classes or more")
        if self.labels and self.target is not None:
            raise InputError("give --labels or --target, not both")
        if self.robust and self.label_smoothing:
            raise InputError("--robust and --label-smoothing are two cures of one ill; give one")
        of_classes = self.balance != "none" or self.label_smoothing or self.robust
        if self.task in ("continuous", "segmentation") and of_classes:
            raise InputError("--balance, --label-smoothing and --robust are for labels and classes")
        if self.task != "segmentation" and (self.inference, self.decoder_width) != ("whole", 128):
            raise InputError("--inference and --decoder-width are for --task segmentation")
        if self.task == "segmentation" and self.pool is not None:
            raise InputError("--pool is not for segmentation, whose pictures each have their mask")
