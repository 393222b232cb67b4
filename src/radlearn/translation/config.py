"""The settings of a translation run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from radlearn.engine.names import DeviceName, OnFault, PrecisionName
from radlearn.errors import InputError, refuse_unless_positive
from radlearn.records.limits import LimitFlags
from radlearn.translation.modes import MODES, Mode, Size

if TYPE_CHECKING:
    from radlearn.translation.misalign import Misalignment


@dataclass(frozen=True)
class TranslateConfig:
    """Teach a generator to make one kind of scan from another, from pairs that may not line up.

    Example: radlearn translate stores/mri --run runs/t1-to-t2 --mode nc+r --size small
    """

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Stores of pairs, made by radlearn prepare mri-pairs."""
    run: Path
    """Folder of the run; the same command goes on where it stopped."""
    mode: str = "nc+r"
    """nc, c, nc+r, c+r, p2p or p2p+r: which networks train; +r is with registration."""
    host: str = "resnet"
    """The generator: resnet munit unit nicegan."""
    size: Size = "small"
    """Width and depth of all networks."""
    anchor: float | None = None
    """Weight that holds G(a) in a's place; 0 as published; default: 1 with +r, else 0."""
    adversarial: float = 1.0
    """Weight of the critics: below 1 nearer in mean, above 1 sharper; on resnet alone."""
    fresh: bool | None = None
    """Critics judge a fake made anew after G's update; default: as published. False is quicker."""
    misalign: int | None = None
    """Bring training pairs out of line: RegGAN's level, 0 to 5."""
    elastic: float = 0.0
    """Bend training pairs by up to this, per cent of the side, up to 4."""
    unpaired: bool = False
    """Show any target beside any source; for modes that need no pairs."""
    dims: int = 2
    """2 for slices, 3 for patches of volumes."""
    patch: tuple[int, ...] = (32, 96, 96)
    """Depth, height and width of a patch, in 3-D."""
    patches: int = 16
    """Patches a volume and epoch, in 3-D."""
    steps: int | None = None
    """Updates; in place of --epochs."""
    epochs: float = 80.0
    batch: int = 1
    lr: float = 1e-4
    """Learning rate of Adam, the same to the end."""
    average: float = 0.999
    """Share that a step keeps of the averaged generator, which is what answers; 0: no average."""
    evaluations: int = 5
    """How often the pairs held apart are scored; nothing is chosen by it."""
    seed: int = 0
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    on_fault: OnFault = "stop"
    """At an update that is no number or explodes: stop, or leave it out."""
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("no store was given; make one with: radlearn prepare mri-pairs")
        if self.mode not in MODES:
            raise InputError(f"no mode is called {self.mode!r}; choose {', '.join(MODES)}")
        refuse_unless_positive(self, "batch", "epochs", "lr", "evaluations", "steps", "patches")
        if not 0 <= self.average < 1:
            raise InputError(f"--average {self.average} does not lie from 0 to below 1")
        if self.unpaired and MODES[self.mode].needs_pairs:
            raise InputError(f"mode {self.mode} needs pairs; without them there are nc and c")
        if self.dims == 3 and (len(self.patch) != 3 or min(self.patch) < 1):
            raise InputError("--patch takes a depth, a height and a width, such as 32 96 96")
        for name in ("anchor", "adversarial"):
            if (getattr(self, name) or 0.0) < 0:
                raise InputError(f"--{name} must be 0 or above")
        if self.adversarial != 1 and self.host != "resnet":
            raise InputError(
                f"--adversarial is for --host resnet; {self.host} weighs its own critics"
            )
        self.misalignment()

    def trained_mode(self) -> Mode:
        """The mode with the weights and the order of updates of this run."""
        mode, anchor = MODES[self.mode], self.anchor
        if anchor is None:
            anchor = 1.0 if "R" in mode.networks else 0.0
        weights = replace(mode.weights, anchor=anchor, adversarial=self.adversarial)
        fresh = mode.fresh if self.fresh is None else self.fresh
        return replace(mode, weights=weights, fresh=fresh)

    def misalignment(self) -> "Misalignment":
        from radlearn.translation.misalign import Misalignment

        return Misalignment(self.misalign, self.elastic)


@dataclass(frozen=True)
class RegisterConfig:
    """Lay a new source scan on its target scan with the registration that a run has trained.

    The target made from the source, G(a), is registered to the real one, b: at every place the
    field phi says where in the source's frame the anatomy lies that b shows here. Moved by the
    same field the source itself lies on b. Writes moved_SOURCE (like the source), field.nii.gz
    (millimetres, LPS, intent 1007: ITK and ANTs read it as a displacement field), registration.json
    (errors before and after, displacement, folding) and panel.png.

    Example: radlearn register runs/t1-to-t2 --moving T1.nii.gz --fixed T2.nii.gz --out moved
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A finished translation run of a mode with +r."""
    moving: Path
    """The source: a file, a series, or a folder with a file by each source's name."""
    fixed: Path
    """The target: likewise. Both are laid on one grid by their headers first."""
    out: Path
    """Folder of what is written; what is there by the same names is replaced."""
    batch: int = 8
    """Slices at a time."""
    device: DeviceName = "auto"
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError("--batch must be above 0")
