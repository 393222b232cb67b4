"""Several fine-tuned runs of one backbone on new pictures: each answers, or each for its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from radlearn.adapters.several import Several
from radlearn.datasets.tables import open_table
from radlearn.engine.device import Compute
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.finetuning.predict import Picture, answered, files_for, write_answers
from radlearn.finetuning.readings import READINGS, Outputs, Reading
from radlearn.finetuning.tuned import Kept, open_tuned, thresholds_of
from radlearn.metrics.finished import names_of
from radlearn.models.attention import choose_attention
from radlearn.models.inference import in_batches
from radlearn.records.guard import DEFAULT_LIMITS, Limits
from radlearn.records.transforms import Preprocessing, evaluated, normalised


class Answering(NamedTuple):
    """Runs by their names, and all that is needed to ask them.

    Attributes:
        which: the run that answers for a picture, by the picture's name; None: every run for each.
    """

    several: Several
    readings: Mapping[str, Reading]
    thresholds: Mapping[str, Mapping[str, float | None]]
    preprocessing: Preprocessing
    which: Mapping[str, str] | None

    def runs_for(self, picture: str) -> list[str]:
        return list(self.readings) if self.which is None else [self.which[picture]]


def predict_several(
    runs: Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    which: Path | None,
    batch: int,
    here: Compute,
    limits: Limits = DEFAULT_LIMITS,
) -> int:
    """Write what the runs say of the pictures: a row a picture.

    The backbone is held once, and LoRA in all its forms goes through it together. Where every run
    answers for each picture, columns begin with the run's name; where `which` gives each picture
    its run, the column `run` names it, and columns of other runs are empty.

    Args:
        runs: finished, of one backbone; called by the names of their folders.
        which: a table with the columns file and run.
        batch: pictures at a time.

    Returns:
        0 when every file was answered for, 1 when some could not be read; these are named.

    Raises:
        InputError: runs of other backbones or other preprocessing, of studies or of masks, a
            picture without a run, or as `predict_labels`.
    """
    kept = {name: open_tuned(run) for name, run in zip(names_of(runs), runs, strict=True)}
    if len(kept) < len(runs):
        raise InputError("a run was given twice; name each once")
    files = files_for(inputs, out)
    named = None if which is None else _which(which, [name for name, _ in files], list(kept))
    asked = _answering(dict(zip(kept, runs, strict=True)), kept, named, here)
    stored = next(iter(kept.values())).stored

    def answer(pictures: Sequence[Picture]) -> list[dict[str, np.ndarray]]:
        return _answers(asked, pictures, here, batch)

    names, answers, refused = answered(files, stored, limits, answer)
    write_answers(out, _table(asked, names, [one for some in answers for one in some]))
    console.print(
        f"{len(names)} pictures answered for by {len(runs)} runs on one backbone, {refused} not "
        f"read: {out}"
    )
    return 1 if refused else 0


def _answering(
    runs: Mapping[str, Path],
    kept: Mapping[str, Kept],
    which: Mapping[str, str] | None,
    here: Compute,
) -> Answering:
    for name, of in kept.items():
        if of.facts.get("pool") is not None:
            raise InputError(f"{name} answers for whole studies; predict with it alone")
        if of.facts.get("task", "multi-label") not in READINGS:
            raise InputError(f"{name} draws masks; predict with it alone")
    (first, one), *others = kept.items()
    for name, other in others:
        if (other.preprocessing, dict(other.stored)) != (one.preprocessing, dict(one.stored)):
            raise InputError(
                f"{first} and {name} see pictures in other sizes or grey values, so that they "
                "cannot share a backbone's input; predict with each alone"
            )
    several = Several(
        runs[first] / "model" / "backbone",
        {name: run / "model" / "adapter" for name, run in runs.items()},
    )
    for model in several.models.values():
        model.to(here.device)
        choose_attention(model, here.device)
    if several.together is not None:
        several.together.to(here.device)
    readings = {
        name: READINGS[str(of.facts.get("task", "multi-label"))].of(of.facts)
        for name, of in kept.items()
    }
    thresholds = {
        name: thresholds_of(run / "model", readings[name].names) for name, run in runs.items()
    }
    return Answering(several, readings, thresholds, one.preprocessing, which)


def _which(path: Path, files: Sequence[str], runs: Sequence[str]) -> dict[str, str]:
    """The run of each file; the table names it by its whole name or by its last part."""
    given = {row["file"]: row["run"] for row in open_table(path, required=("file", "run"))}
    if unknown := set(given.values()) - set(runs):
        raise InputError(f"{path} names the run {min(unknown)!r}; there are {', '.join(runs)}")
    found = {file: given.get(file) or given.get(Path(file).name) for file in files}
    if silent := [file for file, run in found.items() if run is None]:
        raise InputError(f"{path} names no run for {len(silent)} files, such as {silent[0]}")
    return {file: run for file, run in found.items() if run is not None}


def _answers(
    asked: Answering, pictures: Sequence[Picture], here: Compute, batch: int
) -> list[dict[str, np.ndarray]]:
    """Of each picture the outputs of every run that answers for it."""
    seen = torch.stack([evaluated(one.stored, asked.preprocessing).float() for one in pictures])
    wanted = [asked.runs_for(picture.name) for picture in pictures]
    counts = {name: len(reading.names) for name, reading in asked.readings.items()}
    width = max(sum(counts[name] for name in names) for names in wanted)

    def run(positions: np.ndarray) -> Tensor:
        at = [(int(place), name) for place in positions for name in wanted[place]]
        images = normalised(seen[[place for place, _ in at]].to(here.device), asked.preprocessing)
        with here.autocast():
            logits = iter(asked.several.logits(images, [name for _, name in at]))
        rows = torch.full((len(positions), width), torch.nan)
        for row, place in enumerate(positions):
            answer = torch.cat([next(logits).float().cpu() for _ in wanted[place]])
            rows[row, : len(answer)] = answer
        return rows

    outputs = in_batches(len(pictures), batch, run).numpy().astype(np.float64)
    found = []
    for row, names in zip(outputs, wanted, strict=True):
        ends = np.cumsum([counts[name] for name in names])
        parts = np.split(row[: ends[-1]], ends[:-1])
        found.append(dict(zip(names, parts, strict=True)))
    return found


def _table(
    asked: Answering, names: Sequence[str], answers: Sequence[Mapping[str, np.ndarray]]
) -> pl.DataFrame:
    tables = []
    for run, reading in asked.readings.items():
        rows = [at for at, answer in enumerate(answers) if run in answer]
        if not rows:
            continue
        outputs: Outputs = np.stack([answers[at][run] for at in rows])
        cells = reading.cells(outputs, asked.thresholds[run])
        if asked.which is None:
            cells = {f"{run}: {column}": values for column, values in cells.items()}
        else:
            cells = {"run": [run] * len(rows), **cells}
        tables.append(pl.DataFrame({"row": rows} | cells))
    files = pl.DataFrame({"row": range(len(names)), "file": names})
    if asked.which is None:
        for table in tables:
            files = files.join(table, on="row", maintain_order="left")
        return files.drop("row")
    every = pl.concat(tables, how="diagonal_relaxed")
    return files.join(every, on="row", maintain_order="left").drop("row")
