"""Everybody else's images: a folder of files, or a table with columns named by flags."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from radlearn.datasets.headers import dicom_patient
from radlearn.datasets.mask_places import MaskPlaces, mask_places
from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import bare, located, walk
from radlearn.datasets.tables import (
    EMPTY,
    Table,
    age_of,
    label_of,
    open_table,
    sex_of,
    split_of,
    view_of,
)
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Source, SourceRecord
from radlearn.records.reports import clean_report

HOLDING = "images, or a table that names them"
NOT_IMAGES = {
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".json",
    ".xml",
    ".html",
    ".pdf",
    ".xlsx",
    ".py",
    ".yaml",
}
FILES_A_PATIENT = 50  # on average; folders with more are classes or batches, not patients


def records(source: Path, options: LayoutOptions) -> Source:
    """A folder of images, or a table.

    **A folder**: every file at any depth is an image, unless its ending says text or table, or it
    lies in `options.mask_folder`.

    **A table** (`options.table`, or `source` itself where it is a file): columns as the options
    name them, or image, id, patient, report, split, view, age, sex, mask where there are such. A
    row without an image is a report alone.

    **The patient** is what the table says. Else `patient_from="folder"` takes the folder that
    holds the image and `"file"` the image's own name; `"auto"` takes PatientID of a DICOM header,
    or else the folder where images lie in folders of at most 50 on average, since a patient in
    two splits is the worse mistake, and the image's own name otherwise.

    **The mask** is the file that the table names; else, in `options.mask_folder`, the one named as
    its image, files of such a name a class, or the DICOM SEG that refers to the image.

    Raises:
        InputError: nothing is there, or a column that an option names is missing.
    """
    set_aside: list[SetAside] = []
    if not source.exists():
        raise InputError(f"{source} does not exist; folder looks for {HOLDING}")
    path = options.table or (source if source.is_file() else None)
    if path is None:
        root = options.images or source
        if next((p for p in walk(root, []) if _may_be_image(p)), None) is None:
            raise InputError(f"{root} holds no images; folder looks for {HOLDING}")
        masks = mask_places(options, (), set_aside)
        found = _files(root, options, masks, set_aside)
    else:
        root = options.images or (source if source.is_dir() else source.parent)
        table = open_table(path, _named(options))
        masks = mask_places(options, _named_masks(root, table, options), set_aside)
        found = _rows(root, table, options, masks, set_aside)
    return Source(
        name=source.resolve().stem,
        label_names=options.label_columns if path else (),
        licence=options.licence or "not stated",
        terms="Whatever the owner of the files allows; none was stated when they were taken in."
        if not options.licence
        else options.licence,
        mask_names=masks.names or ("mask",),
        records=found,
        set_aside=set_aside,
    )


def _may_be_image(path: Path) -> bool:
    return path.suffix.lower() not in NOT_IMAGES


def _files(
    root: Path, options: LayoutOptions, masks: MaskPlaces, set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    segs, folder = masks.taken, options.mask_folder and options.mask_folder.resolve()
    beside = folder is not None and root.resolve().is_relative_to(folder)

    def is_mask(path: Path) -> bool:
        if folder is None:
            return False
        if beside:  # masks lie among their images
            return path.resolve() in segs or masks.is_mask(path.name)
        return path.resolve().is_relative_to(folder)

    found = (p for p in walk(root, []) if not is_mask(p))
    names = (p.relative_to(root) for p in found if _may_be_image(p))
    by_folder = _by_folder(names, options)
    for path in walk(root, set_aside):
        name = path.relative_to(root)
        if is_mask(path):
            continue
        if not _may_be_image(path):
            set_aside.append(SetAside(str(name), f"a {path.suffix} file is no image"))
            continue
        yield SourceRecord(
            id=str(name),
            patient=_patient(name, path, by_folder, options),
            image=path,
            mask=masks.of(name.as_posix(), path),
        )


def _by_folder(names: Iterable[Path], options: LayoutOptions) -> bool:
    if options.patient_from != "auto":
        return options.patient_from == "folder"
    files, folders = 0, set()
    for name in names:
        if name.parent != Path():
            files += 1
            folders.add(name.parent)
    return bool(folders) and files <= FILES_A_PATIENT * len(folders)


def _patient(name: Path, image: Path | None, by_folder: bool, options: LayoutOptions) -> str:
    if options.patient_from == "auto" and image and (patient := dicom_patient(image)):
        return patient
    return str(name.parent) if by_folder and name.parent != Path() else bare(str(name))


def _named(options: LayoutOptions) -> list[str]:
    """The columns that a flag asks for."""
    single = (
        *(options.image_column, options.id_column, options.patient_column, options.report_column),
        *(options.split_column, options.view_column, options.age_column, options.sex_column),
        options.mask_column,
    )
    several = (*options.label_columns, *options.extra_columns)
    return [column for column in (*single, *several) if column]


def _named_masks(root: Path, table: Table, options: LayoutOptions) -> Iterator[Path]:
    """The masks that a table names and that are there."""
    column = options.mask_column or "mask"
    for row in table if table.has(column) else ():
        if path := located([options.mask_folder or root], [row[column]], None, ""):
            yield path


def _rows(
    root: Path,
    table: Table,
    options: LayoutOptions,
    masks: MaskPlaces,
    set_aside: list[SetAside],
) -> Iterator[SourceRecord]:
    image_column = options.image_column or "image"
    report_column = options.report_column or "report"
    if not table.has(image_column) and not table.has(report_column):
        raise InputError(
            f"{table.path} has neither a column {image_column!r} nor {report_column!r}; name the "
            f"right one by image-column; its columns are: {', '.join(table.columns[:20])}"
        )
    names = (Path(row[image_column]) for row in table) if table.has(image_column) else ()
    by_folder = _by_folder(names, options)
    met: set[str] = set()
    for number, row in enumerate(table, start=2):
        named = row.get(image_column, "")
        report = clean_report(row.get(report_column, "")) or None
        own = row.get(options.id_column or "id", "") or named or f"row {number}"
        if own in met:
            set_aside.append(SetAside(own, "the table has it twice; the first row counts"))
            continue
        image = located([root], [_below(root, named)], set_aside, named) if named else None
        if (named and image is None) or (image is None and report is None):
            if not named:
                set_aside.append(SetAside(own, "neither an image nor a report"))
            continue
        split_cell = row.get(options.split_column or "split", "")
        split = split_of(split_cell)
        if split is None and split_cell.lower() not in EMPTY:
            set_aside.append(SetAside(own, f"split {split_cell[:40]!r} is not train, val or test"))
            continue
        met.add(own)
        patient = row.get(options.patient_column or "patient", "")
        drawn = None
        if mask_name := row.get(options.mask_column or "mask", ""):
            drawn = located([options.mask_folder or root], [mask_name], set_aside, mask_name)
        yield SourceRecord(
            id=own,
            patient=patient or _patient(Path(named or own), image, by_folder, options),
            image=image,
            report=report,
            labels=_labels(row, own, options, set_aside),
            mask=masks.drawn_in(drawn) if drawn else masks.of("" if mask_name else named, image),
            view=view_of(row.get(options.view_column or "view", "")),
            age=age_of(row.get(options.age_column or "age", "")),
            sex=sex_of(row.get(options.sex_column or "sex", "")),
            split=split,
            extra={name: row[name] for name in options.extra_columns if row[name]},
        )


def _below(root: Path, name: str) -> str:
    """An absolute path into `root` as a relative one; others as they are."""
    return os.path.relpath(name, root) if name.startswith(f"{root.absolute()}/") else name


def _labels(
    row: dict[str, str], own: str, options: LayoutOptions, set_aside: list[SetAside]
) -> dict[str, float]:
    labels = {}
    for name in options.label_columns:
        try:
            value = label_of(row[name])
        except ValueError as error:
            set_aside.append(SetAside(f"{own}: {name}", f"{error}; the record is kept without it"))
            continue
        if value is not None:
            labels[name] = value
    return labels
