"""What a recipe costs at full size: images, operations and hours on one GPU, by counted layers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from radlearn.finetuning.config import FinetuneConfig
from radlearn.grids.operations import (
    finetuning_step,
    inference,
    pretraining_step,
    segmentation,
    segmentation_step,
    translation_step,
)
from radlearn.grids.recipe import Recipe, TranslationRecipe

PEAK = 312e12
"""Operations a second of the assumed GPU: an A100's matrix units in bfloat16, by its data sheet."""
SHARES: Mapping[str, float] = {"transformer": 0.4, "convolution": 0.1}
"""Assumed, not measured: how much of the peak is reached by a ViT at the recipes' batches, and by
convolutions on one slice at a time."""
TRAINING: Mapping[str, int] = {
    "nih": 78_468,
    "chexpert": 223_400,
    "rsna": 25_184,
    "covid": 354,
    "viral": 296,
    "siim": 8_150,
    "mimic": 370_000,
    "brats": 8_457,
}
"""Images, records or slices that train: the lengths of the published lists, of SIIM's by the sizes
of the files; of CheXpert a hundred times what the published 1 % holds; of MIMIC-CXR in round
figures."""
HELD_APART: Mapping[str, tuple[int, int]] = {
    "nih": (11_219, 22_433),
    "chexpert": (5_000, 668),
    "rsna": (1_500, 3_000),
    "covid": (51, 104),
    "viral": (45, 85),
    "siim": (1_940, 1_950),
}
"""Images that validate and that test: the lengths of the published lists (of SIIM by their
sizes); MIMIC-CXR has none."""

Kind = Literal["transformer", "convolution"]


@dataclass(frozen=True)
class Cost:
    """What runs cost.

    Attributes:
        runs: how many.
        images: seen in training, each as often as it was seen; slices in translation.
        operations: multiplications and additions, validation and test included.
        kind: what the networks are made of, which decides the share of the GPU that they use.
    """

    runs: int
    images: int
    operations: float
    kind: Kind

    @property
    def hours(self) -> float:
        """On one GPU of `PEAK` operations a second, of which `SHARES` are used."""
        return self.operations / (PEAK * SHARES[self.kind]) / 3600


def cost_of(recipe: Recipe | TranslationRecipe) -> Cost:
    """What the paper's scale of a recipe costs: its pretraining and every cell that is chosen."""
    if isinstance(recipe, TranslationRecipe):
        return _added(_translation(recipe.flags(cell), cell.mode) for cell in recipe.cells())
    made = [one for one in recipe.backbones.values() if "file" not in one]
    return _added(
        [
            *map(_pretraining, made),
            *(_finetuning(recipe.flags(cell)) for cell in recipe.cells()),
        ]
    )


def _added(costs: Iterable[Cost]) -> Cost:
    all_of = list(costs)
    return Cost(
        len(all_of),
        sum(one.images for one in all_of),
        sum(one.operations for one in all_of),
        all_of[0].kind,
    )


def _pretraining(flags: Mapping[str, Any]) -> Cost:
    images = round(flags["epochs"] * sum(TRAINING[name] for name in flags["stores"]))
    return Cost(1, images, images * _record(flags["model"]), "transformer")


def _finetuning(flags: Mapping[str, Any]) -> Cost:
    data = [name.split("-")[0] for name in flags["stores"]]
    records = round(flags["fraction"] * sum(TRAINING[name] for name in data))
    steps = flags.get("steps") or math.ceil(flags["epochs"] * records / flags["batch"])
    images = steps * flags["batch"]
    val, test = (sum(HELD_APART[name][at] for name in data) for at in (0, 1))
    answered = (flags["evaluations"] + 1) * val + test
    if flags.get("task") == "segmentation":
        shape = flags["image_size"], flags["decoder_width"]
        operations = images * _mask_step(*shape) + answered * _mask(*shape)
        return Cost(1, images, operations, "transformer")
    rank = flags.get("rank", FinetuneConfig.rank)
    operations = images * _step(flags["tuner"], rank) + answered * _answer()
    return Cost(1, images, operations, "transformer")


def _translation(flags: Mapping[str, Any], name: str) -> Cost:
    images = flags["epochs"] * TRAINING["brats"]
    step = _pair(flags.get("mode", name), flags["host"], flags["size"])
    return Cost(1, images, images * step, "convolution")


_record, _step, _answer = cache(pretraining_step), cache(finetuning_step), cache(inference)
_mask_step, _mask, _pair = cache(segmentation_step), cache(segmentation), cache(translation_step)
