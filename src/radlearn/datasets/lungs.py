"""Montgomery and Shenzhen tuberculosis radiographs (Jaeger et al., 2014) with lung masks."""

import re
from collections.abc import Iterator
from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import folder, located, walk
from radlearn.errors import InputError
from radlearn.records.record import MaskFiles, SetAside, Source, SourceRecord, View

LABEL = "Tuberculosis"
HOLDING = "cxr/ and masks/ (or CXR_png/ with ManualMask/ or mask/), images named like MCUCXR_0001_0"
NAME = re.compile(r"(?P<patient>[A-Z]+CXR_\d+)_(?P<label>[01])")
IMAGE_FOLDERS = ("cxr", "CXR_png")
MASK_FOLDERS = ("masks", "mask")
SIDES = ("ManualMask/leftMask", "ManualMask/rightMask")


def records(source: Path, options: LayoutOptions) -> Source:
    """Every image named by a number and `_0` or `_1`; the latter is tuberculosis.

    Image folders are cxr/ or CXR_png/, at any depth, so that the two sets may lie beside each
    other. Masks are looked for beside the image folder: masks/NAME.png, mask/NAME_mask.png, or
    ManualMask/leftMask/ and rightMask/, whose union is the mask.

    Raises:
        InputError: no such image folder.
    """
    root = folder(source, "lungs", HOLDING)
    base = options.images or root
    places = [base, *(p for p in sorted(base.rglob("*")) if p.is_dir() and not p.is_symlink())]
    places = [p for p in places if p.name in IMAGE_FOLDERS or (options.images and p == base)]
    if not places:
        raise InputError(f"{base} has no folder cxr/ or CXR_png/; lungs looks for {HOLDING}")
    set_aside: list[SetAside] = []
    return Source(
        name="Montgomery and Shenzhen chest X-rays",
        label_names=(LABEL,),
        mask_names=("lung",),
        licence="free with citation; masks of Shenzhen CC BY-NC-SA 4.0",
        terms="Images of the National Library of Medicine: free to use, cite Jaeger et al., QIMS "
        "2014. Lung masks of the Shenzhen images CC BY-NC-SA 4.0: no commercial use, share alike.",
        records=_records(root, places, options, set_aside),
        set_aside=set_aside,
    )


def _records(
    root: Path, places: list[Path], options: LayoutOptions, set_aside: list[SetAside]
) -> Iterator[SourceRecord]:
    met: set[str] = set()
    for place in places:
        for path in walk(place, set_aside):
            match = NAME.fullmatch(path.stem)
            if match is None:
                set_aside.append(SetAside(path.name, "its name gives no number and no _0 or _1"))
                continue
            if path.stem in met:
                set_aside.append(SetAside(path.name, "there twice; the first one counts"))
                continue
            met.add(path.stem)
            yield SourceRecord(
                id=path.stem,
                patient=match["patient"],
                image=path,
                labels={LABEL: float(match["label"])},
                mask=_mask(path.stem, place.parent, root, options),
                view=View.FRONTAL,
            )


def _mask(name: str, beside: Path, root: Path, options: LayoutOptions) -> MaskFiles | None:
    folders = [beside / f for f in MASK_FOLDERS] + [root / f for f in MASK_FOLDERS]
    if options.mask_folder:
        folders = [options.mask_folder]
    if whole := located(folders, (f"{name}.png", f"{name}_mask.png"), None, ""):
        return MaskFiles((whole,))
    sides = [located([beside / side], [f"{name}.png"], None, "") for side in SIDES]
    return MaskFiles(tuple(s for s in sides if s)) if all(sides) else None
