"""A fine-tuned run on new pictures: files and folders in, a table of answers out."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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


class _Picture(NamedTuple):
    name: str
    stored: Shaped[np.ndarray, "size size"]


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
    files = list(files_of(inputs))
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name the file to write")
    for folder in (out.parent, saliency):
        if folder is not None:
            writable(folder)
    tuned.model.to(here.device)
    names: list[str] = []
    answers: list[Outputs] = []
    refused: list[SetAside] = []
    with progress("predict", len(files), unit="files") as ticker:
        for start in range(0, len(files), CHUNK):
            pictures = []
            for name, path in files[start : start + CHUNK]:
                try:
                    values = read_pixels(path, limits).values
                    pictures.append(_Picture(name, fitted(values, **tuned.stored)))
                except UnreadableError as error:
                    reason = str(error).removeprefix(f"{path.name}: ")
                    refused.append(SetAside(name, reason))
                ticker.advance()
            if pictures:
                names += [picture.name for picture in pictures]
                answers.append(_outputs(tuned, pictures, here, batch, saliency))
    for one in refused:
        console.print(f"cannot read {one.path}: {one.reason}", style="yellow")
    if not names:
        raise InputError(f"none of the {len(files)} files given could be read as a picture")
    with replacing(out) as temporary:
        table = _table(tuned, names, np.concatenate(answers))
        if out.suffix == ".csv":
            named = pl.Series("file", [listed(name) for name in table["file"]], pl.String)
            table.with_columns(named).write_csv(temporary)
        else:
            table.write_parquet(temporary)
    together = "" if tuned.pool is None else f" as {table.height} studies, a folder each"
    console.print(f"{len(names)} pictures answered for{together}, {len(refused)} not read: {out}")
    return 1 if refused else 0


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
    pictures: Sequence[_Picture],
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
