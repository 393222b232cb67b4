"""A segmentation on new pictures: files and folders in, a mask file for each out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Shaped, UInt8

from radlearn.engine.device import Compute
from radlearn.engine.log import console, progress
from radlearn.errors import InputError, UnreadableError
from radlearn.files import listed, replacing, writable
from radlearn.finetuning.predict import files_of
from radlearn.finetuning.segmentation_inference import Inference, predicted_masks
from radlearn.finetuning.tuned import open_tuned
from radlearn.models.segmenter import Segmenter, build_segmenter
from radlearn.records.geometry import fitted, unfitted
from radlearn.records.guard import DEFAULT_LIMITS, Limits
from radlearn.records.mask_files import ENDINGS, MaskKind, write_mask
from radlearn.records.readers import read_pixels
from radlearn.records.record import SetAside
from radlearn.records.transforms import Preprocessing

CHUNK = 64  # pictures held in memory at once
TABLE = "masks.csv"


@dataclass(frozen=True)
class TunedSegmenter:
    """A segmenter ready to predict, its adapter merged.

    Attributes:
        stored: how its training pictures were stored ("size", "fit", "bits"), so that a new
            picture goes the same way.
    """

    model: Segmenter
    preprocessing: Preprocessing
    stored: dict[str, Any]
    classes: tuple[str, ...]
    inference: Inference


class _Picture(NamedTuple):
    name: str
    source: Path
    mask: Path
    height: int
    width: int
    stored: Shaped[np.ndarray, "size size"]


def load_segmenter(run: Path) -> TunedSegmenter:
    """Open a finished run of segmentation.

    Raises:
        InputError: it is missing, not finished or damaged, or its adapter belongs to another
            backbone.
    """
    kept = open_tuned(run)
    try:
        classes = tuple(map(str, kept.facts["classes"]))
        width, inference = int(kept.facts["width"]), kept.facts["inference"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the adapter in {run} does not say {error}; fine-tune again") from error
    if inference not in ("whole", "sliding") or width < 1:
        raise InputError(f"the adapter in {run} says inference {inference!r}; fine-tune again")
    model = build_segmenter(kept.config, len(classes), width)
    tuned = kept.onto(model, model.backbone)
    assert isinstance(tuned, Segmenter)
    return TunedSegmenter(tuned, kept.preprocessing, dict(kept.stored), classes, inference)


def predict_masks(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    kind: MaskKind,
    batch: int,
    here: Compute,
    limits: Limits = DEFAULT_LIMITS,
) -> int:
    """Write a mask for every picture, in its own grid and geometry, and a table of what is in them.

    A file of a folder given keeps its place below that folder. `out`/masks.csv has a row a mask:
    file, mask, and the pixels of each class.

    Args:
        out: a folder.
        batch: pictures, or windows, at a time.
        limits: of a file.

    Returns:
        0 when every file was answered for, 1 when some could not be read or written; these are
        named.

    Raises:
        InputError: the run is not finished, an input is missing, two masks would be one file, or
            no file could be answered for.
    """
    tuned = load_segmenter(run)
    files = _placed(inputs, out, ENDINGS[kind])
    writable(out)
    tuned.model.to(here.device)
    rows: list[dict[str, object]] = []
    refused: list[SetAside] = []
    with progress("predict", len(files), unit="files") as ticker:
        for start in range(0, len(files), CHUNK):
            pictures = []
            for name, path, mask in files[start : start + CHUNK]:
                try:
                    values = read_pixels(path, limits).values
                    height, width = values.shape
                    stored = fitted(values, **tuned.stored)
                    pictures.append(_Picture(name, path, mask, height, width, stored))
                except UnreadableError as error:
                    refused.append(_refusal(name, path, error))
            for picture, found in zip(pictures, _masks(tuned, pictures, batch, here), strict=True):
                values = unfitted(found, picture.height, picture.width, tuned.stored["fit"])
                try:
                    writable(picture.mask.parent)
                    write_mask(values, tuned.classes, picture.source, picture.mask, kind, limits)
                except (InputError, UnreadableError) as error:
                    refused.append(_refusal(picture.name, picture.source, error))
                    continue
                rows.append(_row(picture, out, values, tuned.classes))
            ticker.advance(len(files[start : start + CHUNK]))
    for one in refused:
        console.print(f"no mask of {one.path}: {one.reason}", style="yellow", markup=False)
    if not rows:
        raise InputError(f"none of the {len(files)} files given could be answered for")
    with replacing(out / TABLE) as temporary:
        pl.DataFrame(rows).write_csv(temporary)
    console.print(f"{len(rows)} masks written, {len(refused)} files without one: {out}")
    return 1 if refused else 0


def _masks(
    tuned: TunedSegmenter, pictures: Sequence[_Picture], batch: int, here: Compute
) -> UInt8[np.ndarray, "pictures size size"]:
    if not pictures:
        return np.zeros((0, tuned.stored["size"], tuned.stored["size"]), np.uint8)
    stored = [picture.stored for picture in pictures]
    return predicted_masks(tuned.model, stored, tuned.preprocessing, tuned.inference, here, batch)


def _placed(inputs: Sequence[Path], out: Path, ending: str) -> list[tuple[str, Path, Path]]:
    """Every file with what to call it and where its mask goes: no two at one place."""
    found = []
    for given in inputs:
        for name, path in files_of([given]):
            inside = path.relative_to(given).parent if given.is_dir() else Path()
            found.append((name, path, out / inside / path.name))
    stems = Counter(_without_ending(place) for _, _, place in found)
    placed = []
    for name, path, place in found:
        short = _without_ending(place)
        base = short if stems[short] == 1 else place  # a.png and a.dcm keep their endings
        placed.append((name, path, base.with_name(base.name + ending)))
    twice = [
        place for place, count in Counter(place for _, _, place in placed).items() if count > 1
    ]
    if twice:
        raise InputError(f"two inputs would be written to {twice[0]}; predict them one by one")
    return placed


def _without_ending(path: Path) -> Path:
    name = path.name
    for ending in (".nii.gz", path.suffix):
        if ending and name.lower().endswith(ending.lower()) and len(name) > len(ending):
            return path.with_name(name[: -len(ending)])
    return path


def _row(
    picture: _Picture, out: Path, mask: UInt8[np.ndarray, "height width"], classes: Sequence[str]
) -> dict[str, object]:
    counts = np.bincount(mask.ravel(), minlength=len(classes) + 1)
    pixels = {f"{name} pixels": int(counts[k]) for k, name in enumerate(classes, 1)}
    mask_file = str(picture.mask.relative_to(out))
    return {"file": listed(picture.name), "mask": listed(mask_file), **pixels}


def _refusal(name: str, path: Path, error: Exception) -> SetAside:
    return SetAside(name, str(error).removeprefix(f"{path.name}: "))
