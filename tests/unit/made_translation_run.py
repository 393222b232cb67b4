"""A finished translation run as a folder, made by script: no network is trained."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SIDE = 48
SLICES = {"ann": 24, "bob": 31, "cec": 27}


def scores(
    slices: Mapping[str, int] = SLICES,
    decibels: float = 22.0,
    seed: int = 0,
    steps: tuple[int, ...] = (10, 20),
) -> pl.DataFrame:
    """Scores that wander from slice to slice, the same way in every run, rising with the steps.

    The first slice of each pair shows nothing; `seed` moves what differs between runs.
    """
    rng, rows = np.random.default_rng(seed), []
    for patient, n in slices.items():
        anatomy = np.sin(np.arange(n) / 4)
        for number, step in enumerate(steps):
            noise = rng.normal(0, 0.2, n)
            for at in range(n):
                psnr = decibels + number + anatomy[at] + noise[at]
                rows.append(
                    {
                        "step": step,
                        "split": "test",
                        "id": f"{patient}-exam",
                        "patient": patient,
                        "slice": at,
                        "foreground": at / n,
                        "paper_nmae": 10 ** (-psnr / 20) if at else float("nan"),
                        "paper_psnr": psnr if at else float("nan"),
                        "paper_ssim": 0.8 + psnr / 1000,
                        "standard_nmae": 10 ** (-psnr / 20) / 2,
                        "standard_psnr": psnr + 3,
                        "standard_ssim": 0.85 + psnr / 1000,
                    }
                )
    return pl.DataFrame(rows)


def field(folds: bool = False) -> np.ndarray:
    """A smooth swirl of up to 2 px, or a shear that folds half of the slice."""
    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    if folds:
        return np.stack([np.zeros((SIDE, SIDE)), np.where(rows >= 0, -1.5 * columns, 0)]).astype(
            np.float32
        ) * (columns < SIDE // 2)
    wave = 2 * np.pi / SIDE
    return np.stack([2 * np.sin(wave * columns), 2 * np.cos(wave * rows)]).astype(np.float32)


def head(radius: float, level: float) -> np.ndarray:
    """A disc of one grey on a background of -1, (1, SIDE, SIDE)."""
    away = np.hypot(*(np.indices((SIDE, SIDE)) - SIDE / 2))
    return np.where(away < radius, level, -1.0)[None].astype(np.float32)


def write_panel(path: Path, registered: bool = True, **changes: Any) -> None:
    arrays: dict[str, Any] = {
        "source": head(18, 0.2),
        "target": head(18, 0.6),
        "made": head(16, 0.4),
        "split": "test",
        "id": "ann-exam",
        "slice": 7,
        "spacing": np.array([5.0, 0.5, 2.0]),
    }
    if registered:
        arrays |= {"registered": head(18, 0.5), "field": field()}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **(arrays | changes))


def write_run(
    path: Path, table: pl.DataFrame | None = None, registered: bool = True, **results: Any
) -> Path:
    """A run folder with config, results, log, predictions and two panels."""
    (path / "model").mkdir(parents=True)
    config = {
        "mission": "translation",
        "mode": "nc+r" if registered else "nc",
        "misalign": 3,
        "seed": 0,
        "stores": ["store"],
    }
    names = {"source_names": ["T1"], "target_names": ["T2"], "spacing": None}
    results = {"finished": True, "fingerprints": {"test": "abc"}} | results
    for name, value in (("config", config), ("results", results), ("model/config", names)):
        (path / f"{name}.json").write_text(json.dumps(value))
    terms = ("adversarial_b", "registration", "smoothness", "critic_b_real", "critic_b_made")
    (path / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"step": step, "lr": 1e-4} | dict.fromkeys(terms, 1 / step)) + "\n"
            for step in range(1, 21)
        )
    )
    (scores() if table is None else table).write_parquet(path / "predictions.parquet")
    for number in range(2):
        write_panel(path / "panels" / f"{number:02d}.npz", registered)
    return path
