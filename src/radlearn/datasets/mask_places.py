"""Which file draws the mask of which image, and what its classes are called."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from radlearn.datasets.options import LayoutOptions
from radlearn.datasets.places import bare, walk
from radlearn.errors import UnreadableError
from radlearn.records.dicom import read_header
from radlearn.records.dicom_seg import SegFacts, seg_facts
from radlearn.records.record import ClassFiles, MaskFiles, MaskSource, SetAside

SUFFIXES = (".png", ".tif", ".tiff", ".dcm", ".nii.gz", ".nii", ".jpg")
NOT_DICOM = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".nii", ".gz")
WHOLE = ("", "_mask")
"""What a mask's name may have behind its image's."""


@dataclass(frozen=True)
class MaskPlaces:
    """The masks of a folder of masks.

    Attributes:
        names: of the classes; empty for binary masks without a name.
        files: path relative to the folder to file.
        segs: SOPInstanceUID of an image to the DICOM SEG files that refer to it.
    """

    names: tuple[str, ...] = ()
    table: tuple[tuple[int, int], ...] = ()
    files: dict[str, Path] = field(default_factory=dict, repr=False)
    segs: dict[str, list[Path]] = field(default_factory=dict, repr=False)

    @property
    def taken(self) -> set[Path]:
        """The DICOM SEG files, which are masks whatever they are called."""
        return {path.resolve() for paths in self.segs.values() for path in paths}

    def drawn_in(self, *paths: Path) -> MaskFiles:
        return MaskFiles(paths, self.names, self.table)

    def of(self, name: str, image: Path | None) -> MaskSource | None:
        """The mask of an image: by the image's name, by a name a class, or by references.

        Args:
            name: the image's, relative to the folder of images.
            image: its file; never its own mask.
        """
        if not self.files or not name:
            return None
        stems = (bare(name), bare(Path(name).name))
        if whole := self._first([stem + end for stem in stems for end in WHOLE], image):
            return self.drawn_in(whole)
        each = [
            self._first([stem for s in stems for stem in (f"{own}/{s}", f"{s}_{own}")], image)
            for own in self.names
        ]
        if any(each):
            return ClassFiles(self.names, tuple((path,) if path else () for path in each))
        if self.segs and image is not None and (instance := _instance(image)) in self.segs:
            return self.drawn_in(*self.segs[instance])
        return None

    def is_mask(self, name: str) -> bool:
        """Whether a file among the images is called as a mask of another one is."""
        ends = [*WHOLE[1:], *(f"_{own}" for own in self.names)]
        return any(bare(name).endswith(end) for end in ends)

    def _first(self, stems: Iterable[str], image: Path | None) -> Path | None:
        for stem in stems:
            for suffix in SUFFIXES:
                path = self.files.get(stem + suffix)
                if path is not None and (image is None or not path.samefile(image)):
                    return path
        return None


def mask_places(
    options: LayoutOptions, named: Iterable[Path], set_aside: list[SetAside]
) -> MaskPlaces:
    """Look through the folder of masks, if there is one.

    Classes that no option names are the segments of the DICOM SEG files, by their labels.

    Args:
        named: masks that a table names.
        set_aside: where to note DICOM files that cannot be read.
    """
    names, table = options.mask_classes()
    folder = options.mask_folder
    files = {p.relative_to(folder).as_posix(): p for p in walk(folder, [])} if folder else {}
    segs: dict[str, list[Path]] = {}
    labels: dict[str, str] = {}
    for path in (*files.values(), *(() if names else named)):
        found = _facts(path, set_aside)
        if found is None:
            continue
        for instance in sorted(found.instances):
            segs.setdefault(instance, []).append(path)
        for label in found.labels:
            labels.setdefault(label.casefold(), label)
    if not names:
        names = tuple(labels[key] for key in sorted(labels))
    return MaskPlaces(names, table, files, segs)


def _facts(path: Path, set_aside: list[SetAside]) -> SegFacts | None:
    if path.name.lower().endswith(NOT_DICOM):
        return None
    try:
        return seg_facts(path)
    except UnreadableError as error:
        reason = str(error).removeprefix(f"{path.name}: ")
        set_aside.append(SetAside(path.name, f"not read as a mask: {reason}"))
        return None


def _instance(image: Path) -> str:
    try:
        return read_header(image).instance or ""
    except UnreadableError:
        return ""
