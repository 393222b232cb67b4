"""Stand-ins for data that only its owners hand out: the same layout, made by script.

They are for grids at a small scale and for tests; no number measured on them says anything of the
data whose layout they have.
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from radlearn.datasets.chexpert import LABELS
from radlearn.datasets.lists import read_list
from radlearn.datasets.tables import open_table
from radlearn.errors import InputError
from radlearn.files import write_text
from radlearn.records.phantoms import image_count, phantom
from radlearn.records.record import Split

CHEXPERT = "CheXpert-v1.0-small"
NAMES = {"Effusion": "Pleural Effusion", "Nodule": "Lung Lesion"}
"""CheXpert's words for findings of phantoms; the others have the same."""
VALID = 20
"""Every so many patients one is in valid.csv."""


def chexpert(folder: Path, patients: int = 400, size: int = 160, seed: int = 0) -> None:
    """Phantoms as CheXpert's small version: train.csv, valid.csv and a tree of JPEG files.

    Labels are 1.0, 0.0, -1.0 for uncertain, or nothing, as in the real tables.
    """
    columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "valid": []}
    for patient in range(patients):
        part = "valid" if patient % VALID == VALID - 1 else "train"
        for number in range(image_count(patient, seed)):
            drawn = phantom(patient, number, seed, size)
            place = f"{part}/patient{patient + 1:05d}/study{number + 1}/view1_frontal.jpg"
            path = folder / CHEXPERT / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.image).save(path, quality=95)
            labels = {NAMES.get(name, name): value for name, value in drawn.labels.items()}
            rows[part].append(
                {
                    "Path": f"{CHEXPERT}/{place}",
                    "Sex": {"F": "Female", "M": "Male"}.get(drawn.sex, "Unknown"),
                    "Age": f"{drawn.age:.0f}",
                    "Frontal/Lateral": "Frontal",
                    "AP/PA": drawn.view,
                }
                | {name: f"{value:.1f}" for name, value in labels.items()}
            )
    for part, found in rows.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        write_text(folder / CHEXPERT / f"{part}.csv", text.getvalue())


def rsna(folder: Path, nih: str) -> None:
    """RSNA's reading of NIH images as MED-PEFT's lists of RSNA: `path label`, 1 for pneumonia.

    Args:
        nih: a folder of NIH images with rsna_boxes.csv and MED-PEFT's lists, whose splits are kept.
    """
    found: dict[str, str] = {}
    for row in open_table(Path(nih) / "rsna_boxes.csv", ("Image Index", "Target")):
        found[row["Image Index"]] = max(row["Target"], found.get(row["Image Index"], "0"))
    for split in Split:
        lines = read_list(Path(nih) / f"medpeft_{split}_list.txt")
        kept = [f"{line.path} {found[line.path]} \n" for line in lines if line.path in found]
        write_text(folder / f"RSNA_Pneumonia_{split}_list.txt", "".join(kept))


STAND_INS: dict[str, Callable[..., None]] = {"chexpert": chexpert, "rsna": rsna}


def make_stand_in(values: Mapping[str, Any], folder: Path) -> None:
    """Write the stand-in that a recipe's store asks for, unless it is there.

    Args:
        values: `kind`, a name of `STAND_INS`, and that one's settings.

    Raises:
        InputError: no such kind, no such setting, or data that it is made of is not there.
    """
    given = dict(values)
    kind, done = given.pop("kind"), folder / ".done"
    if kind not in STAND_INS:
        raise InputError(f"no stand-in is called {kind!r}; there are {', '.join(STAND_INS)}")
    if not done.exists():
        STAND_INS[kind](folder, **given)
        write_text(done, "")
