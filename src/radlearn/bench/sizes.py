"""How large the work of each figure is: as in the papers, or as small as it gets."""

from dataclasses import dataclass
from typing import Literal

from radlearn.translation.modes import Size


@dataclass(frozen=True)
class Sizes:
    """Attributes:
    mrm: a name of `SIZES` of MRM.
    vit: timm's name of the backbone that is tuned and that answers.
    side: what backbones see, pixels; MRM rebuilds twice that.
    batch: images a step.
    labels: that a classifier answers.
    picture: side of the PNG that a training image comes from, pixels.
    pictures: how many there are.
    networks, slice: size of RegGAN's networks, and side of what they see.
    job: see `Job`.
    resamples, records: of the bootstrap.
    """

    name: Literal["full", "tiny"]
    mrm: str
    vit: str
    side: int
    batch: int
    labels: int
    picture: int
    pictures: int
    networks: Size
    slice: int
    job: "Job"
    resamples: int
    records: int


@dataclass(frozen=True)
class Job:
    """A whole run, from store to results.

    Attributes:
        vit: timm's name of its backbone.
        patients: phantom patients in the store.
        fraction: of the training records that are labelled.
        steps, batch: of LoRA.
        epochs: of the linear head.
    """

    vit: str
    patients: int
    fraction: float
    steps: int
    batch: int
    epochs: int


VIT = "vit_base_patch16_224"
SIZES = {
    "full": Sizes(
        "full", "base", VIT, 224, 16, 14, 1024, 24, "paper", 256,
        Job("vit_small_patch16_224", 60, 1.0, 8, 16, 20), 1000, 20_000,
    ),
    "tiny": Sizes(
        "tiny", "tiny", "vit_tiny_patch16_224", 32, 2, 3, 64, 4, "tiny", 32,
        Job("vit_tiny_patch16_224", 12, 0.5, 2, 2, 2), 10, 100,
    ),
}  # fmt: skip
