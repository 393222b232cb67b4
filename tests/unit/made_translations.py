"""Predictions of translation runs, made by script, and the recipe of their grid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radlearn.files import write_json

PAIRS = """
title = "Pairs"
[about]
cost = "seconds"
expected = "nothing"
[prepare]
folder = "heads"
source = ["T1", "T1b"]
[stores.ann]
test_patients = ["ann"]
[stores.bob]
test_patients = ["bob"]
[translate]
steps = 20
lr = 0.1
[translate.modes."nc+r"]
lr = 0.2
[translate.modes.p2p]
[translate.modes.c]
[translate.levels.level0]
misalign = 0
[translate.levels.level5]
misalign = 5
[grid]
mode = ["nc+r", "p2p", "c"]
level = ["level0", "level5"]
store = ["ann", "bob"]
seed = [0, 1]
"""

STEPS = (10, 20)


def predictions(
    patient: str,
    seed: int,
    decibels: float = 20.0,
    slices: int = 24,
    steps: tuple[int, ...] = STEPS,
) -> pl.DataFrame:
    """Scores of one patient's slices; PSNR rises by one decibel from one scored step to the next.

    The first slice holds no foreground, so its paper NMAE and PSNR are not defined.
    """
    rng = np.random.default_rng(seed)
    tables = []
    for number, step in enumerate(steps):
        psnr = decibels + number + rng.normal(0, 0.1, slices)
        psnr[0] = np.nan
        tables.append(
            pl.DataFrame(
                {
                    "step": np.full(slices, step),
                    "split": ["test"] * slices,
                    "id": [patient] * slices,
                    "patient": [patient] * slices,
                    "slice": np.arange(slices),
                    "foreground": np.where(np.isnan(psnr), 0.0, 0.4),
                    "paper_nmae": 1 / psnr,
                    "paper_psnr": psnr,
                    "paper_ssim": np.full(slices, 0.5 + 0.1 * number),
                    "standard_nmae": np.full(slices, 0.02),
                    "standard_psnr": np.nan_to_num(psnr, nan=50.0) + 5,
                    "standard_ssim": np.full(slices, 0.8),
                }
            )
        )
    return pl.concat(tables)


def finish(
    run: Path,
    flags: Mapping[str, Any],
    table: pl.DataFrame,
    seconds: float | None = 0.1,
    fingerprint: str = "abc",
) -> None:
    """Leave what a finished run leaves."""
    run.mkdir(parents=True, exist_ok=True)
    table.write_parquet(run / "predictions.parquet")
    write_json(run / "config.json", {"mission": "translation", **flags})
    fingerprints = {"test": fingerprint}
    results = {"finished": True, "seconds_per_step": seconds, "fingerprints": fingerprints}
    write_json(run / "results.json", results)


def panel(run: Path, number: int, level: float, registered: bool) -> None:
    """A picture of 16 px that a run leaves, all of one grey."""
    (run / "panels").mkdir(parents=True, exist_ok=True)
    arrays = {"source": 0.1, "target": 0.2, "made": level}
    if registered:
        arrays["registered"] = level
    images = {name: np.full((1, 16, 16), value, np.float32) for name, value in arrays.items()}
    if registered:
        images["field"] = np.zeros((2, 16, 16), np.float32)
    about = {"split": "test", "id": "x", "slice": number}
    np.savez(run / "panels" / f"{number:02d}.npz", **images, **about)
