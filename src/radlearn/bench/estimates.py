"""How long the papers' own runs would take: on this machine, on one GPU, and on eight."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from radlearn.bench.limits import Limits
from radlearn.grids.costs import cost_of
from radlearn.grids.recipe import AnyRecipe
from radlearn.grids.recipe_files import find_recipe, read_recipe

RECIPES = ("mrm-pretraining", "mrm-transfer", "medpeft", "reggan-noise")
CPU_SHARES = {"transformer": 0.75, "convolution": 0.75}
"""Of the bfloat16 matrix rate, as measured by `radlearn bench`; operations are those of the
published architecture, so that what is left out counts as done."""
GPUS = 8
TOGETHER = 0.9
"""Assumed, not measured: what eight GPUs keep of eight times the rate of one."""


class Estimate(NamedTuple):
    """Hours of all runs of a recipe at the paper's size, by its counted operations."""

    recipe: str
    runs: int
    here: float
    gpu: float
    gpus: float


def estimates(bounds: Limits) -> list[Estimate]:
    """Of the recipes of the papers, one after the other."""
    found = []
    for name in RECIPES:
        cost = cost_of(_without_data(find_recipe(name)))
        here = cost.operations / (bounds.best * CPU_SHARES[cost.kind]) / 3600
        gpu = cost.hours
        found.append(Estimate(name, cost.runs, here, gpu, gpu / (GPUS * TOGETHER)))
    return found


def _without_data(path: Path) -> AnyRecipe:
    """A recipe wherever its data lie; nothing is read of them."""
    places = set(re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8")))
    missing = places - os.environ.keys()
    os.environ.update(dict.fromkeys(missing, "data"))
    try:
        return read_recipe(path)
    finally:
        for name in missing:
            del os.environ[name]
