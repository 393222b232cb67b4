"""The table of a grid of translation runs."""

from pathlib import Path

import polars as pl

from radlearn.files import write_json, write_text
from radlearn.recipe import TranslationRecipe
from radlearn.report.page import Table
from radlearn.table import markdown, run_of

MEASURES = tuple(
    f"{kind}_{name}" for kind in ("paper", "standard") for name in ("psnr", "ssim", "nmae")
)


def write_table(recipe: TranslationRecipe, out: Path, resamples: int, command: str) -> None:
    """Write results.json and table.md of the cells finished so far."""
    rows = []
    for level in recipe.grid["level"]:
        for mode in recipe.grid["mode"]:
            cells = [c for c in recipe.cells() if (c.mode, c.level) == (mode, level)]
            runs = [run_of(out, c) for c in cells]
            runs = [run for run in runs if (run / "results.json").exists()]
            if not runs:
                continue
            means = [_means(run) for run in runs]
            rows.append(
                (
                    level,
                    mode,
                    str(len(runs)),
                    *(f"{sum(x) / len(x):.3f}" for x in zip(*means, strict=True)),
                )
            )
    shown = Table(
        "Scores on patients held apart", ("misalignment", "mode", "runs", *MEASURES), rows
    )
    write_json(out / "results.json", {"title": recipe.title, "rows": rows})
    write_text(out / "table.md", markdown(shown))


def _means(run: Path) -> list[float]:
    table = pl.read_parquet(run / "predictions.parquet")
    last = table.filter(pl.col("step") == pl.col("step").max())
    return [float(last[name].fill_nan(None).mean() or 0.0) for name in MEASURES]
