"""The settings of `radlearn retrieve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from radlearn.engine.names import DeviceName, PrecisionName
from radlearn.errors import InputError


@dataclass(frozen=True)
class RetrieveConfig:
    """Find the report of an image, and the image of a report, by a pretraining run (MRM).

    Without --text and --image every record of the split is a query both ways: recall at 1, 5 and
    10 with 95 % intervals over patients, beside chance. Reports that say the same are one.

    Example: radlearn retrieve runs/mrm stores/mimic --out retrieval
    Example: radlearn retrieve runs/mrm stores/mimic --text "left pleural effusion" --top 8
    Example: radlearn retrieve runs/mrm stores/mimic --image chest.dcm
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run of radlearn pretrain, from images and reports."""
    store: Annotated[Path, tyro.conf.Positional]
    """Whose images and reports are looked through."""
    text: str | None = None
    """Words to find images for."""
    image: Path | None = None
    """A picture's file to find reports for."""
    out: Path = Path("retrieval")
    """Folder for the page and, of a split, results.json and answers.parquet."""
    split: Literal["train", "val", "test", "all"] = "test"
    """Which records are looked through."""
    score: Literal["space", "likelihood"] = "space"
    """A space learnt from training pairs, or MRM's own report decoder."""
    nearest: int = 0
    """Likelihood: only for each query's N best by the space; 0: for all pairs."""
    pairs: tuple[Path, ...] = ()
    """Stores whose training pairs teach the space [STORE]."""
    records: int | None = None
    """Only the first N of the split; recall falls as there are more."""
    view: Literal["frontal", "lateral", "all"] = "frontal"
    top: int = 5
    """Answers shown of each query."""
    resamples: int = 1000
    """Bootstrap resamples, drawn by patient."""
    seed: int = 0
    """Of the resamples, and of which queries the page shows."""
    batch: int = 64
    """Images at a time."""
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    """Of the images' features; likelihoods are float32."""

    def __post_init__(self) -> None:
        if self.text is not None and self.image is not None:
            raise InputError("give --text or --image, not both")
        if self.text is not None and not self.text.strip():
            raise InputError("--text is empty; say what to look for")
        for name in ("top", "resamples", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be above 0")
        if self.records is not None and self.records < 2:
            raise InputError("--records must be 2 or more, or there is nothing to choose from")
        if self.nearest < 0 or self.seed < 0:
            raise InputError("--nearest and --seed are 0 or above")
        if self.nearest and self.score == "space":
            raise InputError("--nearest is for --score likelihood; the space scores every pair")
