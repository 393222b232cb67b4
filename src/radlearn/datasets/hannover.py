"""COVID-19 Image Repository of Hannover Medical School (2020): data.csv with labs and outcomes."""

from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located
from radlearn.datasets.tables import Table, age_of, open_table, sex_of, view_of
from radlearn.errors import InputError
from radlearn.records.record import SetAside, Source, SourceRecord

NAME = "COVID-19 Image Repository (Hannover)"
HOLDING = "data.csv and png/"
NOT_EXTRA = {"patient_id", "image_id", "sex", "age"}


def records(source: Path, options: LayoutOptions) -> Source:
    """Radiographs of patients with COVID-19; labs, offsets and outcomes are extra columns.

    Raises:
        InputError: no data.csv, or a column is missing.
    """
    root = folder(source, "hannover", HOLDING)
    path = options.table or root / "data.csv"
    if not path.is_file():
        raise InputError(f"there is no {path}; hannover looks for a folder holding {HOLDING}")
    table = open_table(path, required=("patient_id", "image_id"))
    set_aside: list[SetAside] = []
    return Source(
        name=NAME,
        label_names=("COVID-19",),
        licence="CC BY 3.0",
        terms="Free use, commercial too, naming the authors (Winther et al., Hannover Medical "
        "School, doi:10.6084/m9.figshare.12275009).",
        records=_records(root, table, options, set_aside),
        set_aside=set_aside,
    )


def _records(
    root: Path, table: Table, options: LayoutOptions, set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    base = options.images or root
    met: set[str] = set()
    for row in table:
        name = row["image_id"]
        if name in met:
            set_aside.append(SetAside(name, "the table has it twice; the first row counts"))
            continue
        files = [name + suffix for suffix in (".png", ".nii.gz", ".nii")]
        image = located((base / "png", base / "nii", base), files, set_aside, f"{name}.png")
        if image is None:
            continue
        met.add(name)
        yield SourceRecord(
            id=name,
            patient=row["patient_id"],
            image=image,
            labels={"COVID-19": 1.0},
            view=view_of(row.get("projection", "")),
            age=age_of(row.get("age", "")),
            sex=sex_of(row.get("sex", "")),
            extra={c: v for c, v in row.items() if c and v and c not in NOT_EXTRA},
        )
