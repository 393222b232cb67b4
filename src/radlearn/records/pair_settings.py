"""What a user may ask of `radlearn prepare mri-pairs` and `radlearn misalignment`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from radlearn.errors import InputError
from radlearn.records.limits import LimitFlags
from radlearn.records.names import Axis
from radlearn.records.record import Split

if TYPE_CHECKING:
    from radlearn.datasets.mri_pairs import PairOptions

TransformsFor = Literal["all", "test"]


@dataclass(frozen=True)
class PairsConfig:
    """Make a store of pairs of scans for translation: NIfTI, DICOM series, PNG, TIFF, .npy.

    Example: radlearn prepare mri-pairs /data/exams stores/t1-t2 --source T1 --target T2
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """A folder of exams (T1.nii.gz, T2.nii.gz, or DICOM), or one with a subfolder a name."""
    store: Annotated[Path, tyro.conf.Positional]
    """The folder to make; the same command goes on where it stopped."""
    source: tuple[str, ...]
    """Names of what is translated, one a channel: file, folder, SeriesDescription or column."""
    target: tuple[str, ...]
    """Names of what it is translated to."""
    table: Path | None = None
    """CSV with the columns id, patient (may be missing), and one of file names a name."""
    unpaired: bool = False
    """Take in exams that have one side alone."""
    axis: Axis = "axial"
    """Which way to slice; what has no geometry is sliced along its first axis."""
    size: int = 256
    """Rows and columns of the stored slices, centred on the foreground."""
    spacing: tuple[float, ...] = ()
    """Resample to millimetres: of rows and columns, or of slices, rows, columns."""
    slices: tuple[float, float] = (0.0, 1.0)
    """Train and score on this part of the slices: 0.2 0.8 leaves out a fifth at either end."""
    min_foreground: float = 0.02
    """And on slices with at least this share of foreground, on both sides."""
    percentile: float = 99.5
    """Of a volume's foreground, that becomes 1; its background becomes -1."""
    transforms: str | None = None
    """ITK .txt files from a space common to an exam to each scan; {name}, {exam} are filled in."""
    transforms_for: TransformsFor = "all"
    """test: move only targets of val and test by them; training pairs stay as they are."""
    patient_pattern: str | None = None
    """Regular expression; its first group in an exam's name is the patient."""
    test_patients: tuple[str, ...] = ()
    """Patients held apart by name; else drawn."""
    val_patients: tuple[str, ...] = ()
    """Patients for validation by name; else drawn."""
    val: float = 0.1
    """Share of patients drawn for validation."""
    test: float = 0.2
    """Share of patients drawn to be held apart."""
    seed: int = 0
    """Of splits and order."""
    key: Path | None = None
    """File with the key that hashes patient ids; default: a new random one."""
    licence: str = "not stated"
    """Of the scans; kept with the store."""
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        names = [name.casefold() for name in (*self.source, *self.target)]
        if not self.source or not self.target or not all(names):
            raise InputError("--source and --target each need a name, such as T1 and T2")
        if len(set(names)) < len(names):
            raise InputError(
                f"--source {' '.join(self.source)} --target {' '.join(self.target)} name a scan "
                "twice"
            )
        if not 8 <= self.size <= 4096:
            raise InputError(f"--size {self.size}: choose 8 to 4096 rows and columns")
        if len(self.spacing) not in (0, 1, 3) or not all(0.01 <= s <= 100 for s in self.spacing):
            raise InputError("--spacing takes one or three numbers of 0.01 to 100 mm")
        low, high = self.slices
        if not 0 <= low < high <= 1:
            raise InputError(f"--slices {low} {high}: two parts of 1, the first below the second")
        if not 0 <= self.min_foreground < 1 or not 50 <= self.percentile <= 100:
            raise InputError("--min-foreground is at least 0 and below 1, --percentile 50 to 100")
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise InputError(
                f"--val {self.val} and --test {self.test} are shares of patients: each at least 0, "
                "together below 1"
            )
        if both := set(self.test_patients) & set(self.val_patients):
            raise InputError(f"{min(both)} is named in --test-patients and in --val-patients")
        if self.transforms_for == "test" and not self.transforms:
            raise InputError("--transforms-for says which pairs --transforms is for: give both")

    @property
    def asked_spacing(self) -> list[float | None] | None:
        """Millimetres of slices, rows and columns; None where the volume's own are kept."""
        if not self.spacing:
            return None
        if len(self.spacing) == 1:
            return [None, self.spacing[0], self.spacing[0]]
        return list(self.spacing)

    @property
    def options(self) -> "PairOptions":
        from radlearn.datasets.mri_pairs import PairOptions

        return PairOptions(
            self.source,
            self.target,
            self.patient_pattern,
            self.transforms,
            self.unpaired,
            self.table,
        )

    def settings(self) -> dict[str, Any]:
        """All that decides the store's contents, patients' names left out; JSON."""
        plain = asdict(self)
        return plain.pop("limits") | {
            name: str(value.resolve())
            if isinstance(value, Path)
            else list(value)
            if isinstance(value, tuple)
            else value
            for name, value in plain.items()
            if name not in ("store", "test_patients", "val_patients")
        }


@dataclass(frozen=True)
class MisalignmentConfig:
    """Estimate how far source and target are apart, in mm, and say which mode suits them.

    Example: radlearn misalignment stores/t1-t2 --out misalignment
    """

    store: Annotated[Path, tyro.conf.Positional]
    """A store of pairs; it is read only."""
    out: Path | None = None
    """Folder of misalignment.json and report.html; default: STORE-misalignment, beside it."""
    split: Split | None = None
    """Only pairs of this split; default: all."""
    pairs: int = 0
    """Only the first so many, in the store's seeded order; 0: all."""
    pictures: int = 6
    """Pairs whose worst slice is shown."""
    seed: int = 0
    """Of the registration's samples."""

    def __post_init__(self) -> None:
        if min(self.pairs, self.pictures, self.seed) < 0:
            raise InputError("--pairs, --pictures and --seed are 0 or above")
