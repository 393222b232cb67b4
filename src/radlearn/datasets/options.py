"""What a user may say about a source beyond where it is; each field is a flag of `prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radlearn.errors import InputError
from radlearn.records.record import MOST_CLASSES


@dataclass(frozen=True)
class LayoutOptions:
    """How to read a source. Public layouts need none of it; `folder` reads its columns from here.

    Column names left out fall back to the plain word (`image`, `patient`, `report`, ...) where
    the table has such a column.
    """

    images: Path | None = None
    """Folder the images are in, where that is not the source itself."""
    reports: Path | None = None
    """Folder the reports are in, where that is not the source itself (mimic)."""
    table: Path | None = None
    """The table (CSV, also .csv.gz) to read instead of the layout's usual one."""
    published: str | None = None
    """Published split: official (nih chexpert mimic), medpeft (nih), mrm (siim), mrm-* (covid)."""
    image_column: str | None = None
    """Column with the image's path, relative to the images' folder."""
    id_column: str | None = None
    """Column with the record's id; without one the image's path is the id."""
    patient_column: str | None = None
    """Column with the patient's id."""
    report_column: str | None = None
    """Column with the report's text."""
    label_columns: tuple[str, ...] = ()
    """Columns with labels: 0, 1, -1 for uncertain, empty for not labelled."""
    extra_columns: tuple[str, ...] = ()
    """Columns kept as they are, to be learned, pooled or grouped by (folder)."""
    split_column: str | None = None
    """Column with train, val or test."""
    view_column: str | None = None
    """Column with frontal or lateral (PA, AP, LL, ... too)."""
    age_column: str | None = None
    """Column with the age in years."""
    sex_column: str | None = None
    """Column with the sex."""
    mask_column: str | None = None
    """Column with the path of the image's mask."""
    mask_folder: Path | None = None
    """Folder with masks named as their images are (folder: also NAME_mask, CLASS/NAME)."""
    mask_names: tuple[str, ...] = ()
    """Classes of masks (folder): NAME for the values 1, 2, ...; NAME=VALUE for others."""
    patient_from: Literal["auto", "folder", "file"] = "auto"
    """Whose images are one patient's without a column: a folder's, a file's, or as files tell."""
    licence: str = ""
    """Licence of the source, kept in the store and in every model trained on it (folder)."""

    def __post_init__(self) -> None:
        for folder in (self.images, self.reports, self.mask_folder):
            if folder is not None and not folder.is_dir():
                raise InputError(f"{folder} is not a folder; name the one that holds the files")
        if self.table is not None and not self.table.is_file():
            raise InputError(f"there is no table {self.table}")
        self.mask_classes()

    def mask_classes(self) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
        """Names of the classes, and (pixel value, number of its class) where values are given.

        Raises:
            InputError: a name or value is none, is there twice, or there are too many.
        """
        split = [given.partition("=")[::2] for given in self.mask_names]
        names = tuple(dict.fromkeys(name.strip() for name, _ in split))
        given = [value.strip() for _, value in split]
        table = tuple(
            (int(value), names.index(name.strip()) + 1)
            for (name, _), value in zip(split, given, strict=True)
            if value.isascii() and value.isdigit() and 0 < int(value[:6]) < 2**16
        )
        if any(given) and (len(table) < len(split) or len(dict(table)) < len(table)):
            raise InputError(
                f"--mask-names {' '.join(self.mask_names)}: give each class a value of its own, "
                "1 to 65535, such as lung=1 heart=2, or none of them"
            )
        if not any(given) and len(names) < len(split):
            raise InputError(f"--mask-names {' '.join(self.mask_names)}: a class is there twice")
        if len(names) > MOST_CLASSES or not all(map(_is_name, names)):
            raise InputError(
                f"--mask-names: at most {MOST_CLASSES} names of 1 to 64 characters, without slashes"
            )
        return names, table


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 64 and name.isprintable() and not set(name) & set("/\\")
