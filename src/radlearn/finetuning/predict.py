"""A fine-tuned run on new pictures: files and folders in, a table of answers out."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from radlearn.engine.device import Compute
from radlearn.engine.log import console, progress
from radlearn.errors import InputError, UnreadableError
from radlearn.files import listed, replacing, shown, writable
from radlearn.finetuning.readings import Outputs
from radlearn.finetuning.tuned import Tuned, load_tuned
from radlearn.models.inference import logits
from radlearn.models.saliency import class_activation
from radlearn.records.geometry import fitted
from radlearn.records.guard import DEFAULT_LIMITS, Limits
from radlearn.records.readers import read_pixels
from radlearn.records.record import SetAside
from radlearn.records.transforms import evaluated, normalised
from radlearn.report.pictures import saliency_overlay

CHUNK = 512  # pictures held in memory at once
NAME_BYTES = 150  # of a saliency picture's name before the label's; file systems take 255 in all


class Picture(NamedTuple):
    name: str
    stored: Shaped[np.ndarray, "size size"]


Answer = TypeVar("Answer")


def predict_labels(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    saliency: Path | None,
    batch: int,
    here: Compute,
    limits: Limits = DEFAULT_LIMITS,
) -> int:
    """Write the table, and the pictures if asked for.

    Args:
        out: the table, .csv or .parquet.
        saliency: folder for pictures of what spoke for each picture's likeliest label, or None.
        batch: pictures at a time.
        limits: of a file.

    Returns:
        0 when every file was answered for, 1 when some could not be read; these are named.

    Raises:
        InputError: the run is not finished, an input is missing, or no file could be read.
    """
    tuned = load_tuned(run)
    files = files_for(inputs, out)
    if saliency is not None:
        writable(saliency)
    tuned.model.to(here.device)

    def answer(pictures: Sequence[Picture]) -> Outputs:
        return _outputs(tuned, pictures, here, batch, saliency)

    names, answers, refused = answered(files, tuned.stored, limits, answer)
    table = _table(tuned, names, np.concatenate(answers))
    write_answers(out, table)
    together = "" if tuned.pool is None else f" as {table.height} studies, a folder each"
    console.print(f"{len(names)} pictures answered for{together}, {refused} not read: {out}")
    return 1 if refused else 0


def files_for(inputs: Sequence[Path], out: Path) -> list[tuple[str, Path]]:
    """Every file and what to call it, once it is sure that a table can be written to `out`.

    Raises:
        InputError: it cannot, or an input is missing.
    """
    files = list(files_of(inputs))
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name the file to write")
    writable(out.parent)
    return files


def answered(
    files: Sequence[tuple[str, Path]],
    stored: Mapping[str, Any],
    limits: Limits,
    answer: Callable[[Sequence[Picture]], Answer],
) -> tuple[list[str], list[Answer], int]:
    """What `answer` makes of the pictures that can be read, some hundreds at a time.

    Returns:
        The pictures' names, the answers in their order, and how many files could not be read;
        these are named on the console.

    Raises:
        InputError: none could be read.
    """
    names: list[str] = []
    answers: list[Answer] = []
    refused: list[SetAside] = []
    with progress("predict", len(files), unit="files") as ticker:
        for start in range(0, len(files), CHUNK):
            pictures = []
            for name, path in files[start : start + CHUNK]:
                try:
                    values = read_pixels(path, limits).values
                    pictures.append(Picture(name, fitted(values, **stored)))
                except UnreadableError as error:
                    reason = str(error).removeprefix(f"{path.name}: ")
                    refused.append(SetAside(name, reason))
                ticker.advance()
            if pictures:
                names += [picture.name for picture in pictures]
                answers.append(answer(pictures))
    for one in refused:
        console.print(f"cannot read {one.path}: {one.reason}", style="yellow")
    if not names:
        raise InputError(f"none of the {len(files)} files given could be read as a picture")
    return names, answers, len(refused)


def write_answers(out: Path, table: pl.DataFrame) -> None:
    """Write a table with the column `file` as .csv or .parquet, whichever `out` ends in."""
    with replacing(out) as temporary:
        if out.suffix == ".csv":
            named = pl.Series("file", [listed(name) for name in table["file"]], pl.String)
            table.with_columns(named).write_csv(temporary)
        else:
            table.write_parquet(temporary)


def files_of(inputs: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every file and what to call it; hidden files and those of hidden folders are left out."""
    for given in inputs:
        if given.is_dir():
            found = sorted(path for path in given.rglob("*") if path.is_file())
            visible = [p for p in found if not _hidden(p.relative_to(given))]
            if not visible:
                raise InputError(f"the folder {given} holds no files")
            for path in visible:
                yield shown(path), path
        elif given.exists():
            yield shown(given), given
        else:
            raise InputError(f"nothing is at {given}; check the path")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _outputs(
    tuned: Tuned,
    pictures: Sequence[Picture],
    here: Compute,
    batch: int,
    saliency: Path | None,
) -> Outputs:
    seen = torch.stack(
        [evaluated(picture.stored, tuned.preprocessing).float() for picture in pictures]
    )
    found = logits(
        tuned.model,
        lambda positions: seen[torch.from_numpy(positions)],
        len(pictures),
        tuned.preprocessing,
        here,
        batch,
    )
    if saliency is not None:
        for picture, image, output in zip(pictures, seen, tuned.reading.drawn(found), strict=True):
            _draw(tuned, picture.name, image, int(output), here, saliency)
    return found


def _table(tuned: Tuned, names: Sequence[str], outputs: Outputs) -> pl.DataFrame:
    """A row a picture; where studies were pooled, a row a folder, the mean of its pictures."""
    if tuned.pool is not None:
        folders: dict[str, list[int]] = {}
        for at, name in enumerate(names):
            folders.setdefault(str(Path(name).parent), []).append(at)
        outputs = np.stack([outputs[places].mean(axis=0) for places in folders.values()])
        names = list(folders)
    return pl.DataFrame({"file": names} | tuned.reading.cells(outputs, tuned.thresholds))


def _draw(tuned: Tuned, name: str, image: Tensor, label: int, here: Compute, folder: Path) -> None:
    heat = class_activation(
        tuned.model, normalised(image[None].to(here.device), tuned.preprocessing), label
    )
    grey = image[0].round().to(torch.uint8).numpy()
    with replacing(folder / _picture_name(name, tuned.labels[label])) as temporary:
        Image.fromarray(saliency_overlay(grey, heat)).save(temporary, format="PNG")


def _picture_name(name: str, label: str) -> str:
    """A file name that says which picture and label; where it was too long, its end and a hash."""
    flat = "_".join(part for part in Path(name).parts if part not in ("/", "..", "."))
    if len(flat.encode()) > NAME_BYTES:
        end = flat.encode()[-NAME_BYTES:].decode(errors="ignore")
        flat = f"{hashlib.sha256(flat.encode()).hexdigest()[:8]}_{end}"
    return f"{flat}.{label.replace('/', '_')[:40]}.png"
