"""What strangers' bytes are given to, and the only errors that may come back."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from fuzz.stores import stored, stored_pairs
from radlearn.datasets import openi
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.tables import age_of, label_of, number_of, open_table, view_of
from radlearn.errors import InputError, UnreadableError
from radlearn.grids.recipe_files import read_recipe
from radlearn.models.backbone import BackboneConfig
from radlearn.models.checkpoints import open_checkpoint, read_checkpoint
from radlearn.models.model_folders import read_model
from radlearn.models.weight_files import open_weights
from radlearn.records.dicom_header import read_header, read_whole
from radlearn.records.dicom_identity import deidentify
from radlearn.records.dicom_seg import read_segments, seg_facts
from radlearn.records.guard import DEFAULT_LIMITS, refusals
from radlearn.records.itk_transforms import read_transform
from radlearn.records.masks import read_mask
from radlearn.records.pair_store import clipped, open_pairs, rows_of
from radlearn.records.readers import is_image, read_pixels
from radlearn.records.record import MaskFiles
from radlearn.records.store import open_store, select
from radlearn.records.volume import read_volume

REFUSED = (InputError, UnreadableError)


@dataclass(frozen=True)
class Target:
    """A reader: the name of the file that it is given, and what is done with it."""

    file: str
    read: Callable[[Path], object]

    def __call__(self, contents: bytes, folder: Path) -> None:
        """Let the reader have these bytes; it may refuse them, and nothing else."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        try:
            self.read(path)
        except REFUSED as error:
            assert "\n" not in str(error), "an error is one line"


def _picture(path: Path) -> None:
    if is_image(path):
        read_pixels(path)


def _dicom(path: Path) -> None:
    read_header(path)
    read_pixels(path)


def _identity(path: Path) -> None:
    with refusals(path):
        deidentify(read_whole(path, DEFAULT_LIMITS), bytes(32), keep_characteristics=True)


def _mask(path: Path) -> None:
    read_mask(MaskFiles((path,), ("lung", "heart")))


def _segments(path: Path) -> None:
    seg_facts(path)
    read_segments(path)


def _table(path: Path) -> None:
    for row in open_table(path):
        for text in row.values():
            with suppress(ValueError):  # which layouts turn into a line that is set aside
                label_of(text)
            number_of(text)
            age_of(text)
            view_of(text)


def _reports(path: Path) -> None:
    source = openi.records(path.parent, LayoutOptions())
    for record in source.records:
        assert record.image is None or path.parent in record.image.resolve().parents


def _weights(path: Path) -> None:
    open_weights(path)
    read_checkpoint(path)


def _model(path: Path) -> None:
    """A config.json from elsewhere: a small architecture may be made of it, a huge one may not."""
    config: BackboneConfig = read_model(path.parent, weights=False).config
    json.dumps(config.model_args)


def _folder(path: Path) -> None:
    """A config.json of Hugging Face beside weights that bear out none of it."""
    weights = path.with_name("model.safetensors")
    if not weights.exists():
        save_file({"embeddings.cls_token": torch.zeros(1, 1, 8)}, weights)
    open_checkpoint(path.parent)


def _store(path: Path) -> None:
    _beside(path, stored())
    store = open_store(path.parent)
    chosen = select([store], split=None, view="all")
    for at in range(len(chosen)):
        chosen.image(at)
        chosen.mask(at)
    chosen.labels(store.label_names, "ignore")


def _pairs(path: Path) -> None:
    _beside(path, stored_pairs())
    store = open_pairs(path.parent)
    for row in rows_of(store, None):
        for side in (store.source, store.target):
            clipped(side(row))
        store.slices(row)


def _beside(path: Path, files: Mapping[str, bytes]) -> None:
    """The other files of a store, as they should be."""
    for name, contents in files.items():
        place = path.parent / name
        if place != path and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(contents)


TARGETS: dict[str, Target] = {
    "picture": Target("picture", _picture),
    "dicom": Target("image.dcm", _dicom),
    "identity": Target("image.dcm", _identity),
    "segments": Target("mask.dcm", _segments),
    "mask": Target("mask", _mask),
    "volume": Target("scan.nii", read_volume),
    "table": Target("table.csv", _table),
    "reports": Target("reports/1.xml", _reports),
    "archive": Target("archive/reports.tgz", _reports),
    "transform": Target("rigid.txt", read_transform),
    "weights": Target("weights.pth", _weights),
    "model": Target("model/config.json", _model),
    "folder": Target("folder/config.json", _folder),
    "store": Target("store/store.json", _store),
    "rows": Target("rows/records.parquet", _store),
    "pairs": Target("pairs/store.json", _pairs),
    "recipe": Target("recipe.toml", read_recipe),
}
