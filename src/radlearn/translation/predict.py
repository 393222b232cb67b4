"""A translation run on new exams: G(a) in the source's own space, written as the source was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from radlearn.datasets.pair_candidates import Scan
from radlearn.engine.device import Compute
from radlearn.engine.log import console, progress
from radlearn.errors import InputError, UnreadableError
from radlearn.files import shown, writable
from radlearn.metrics.translation import BACKGROUND
from radlearn.records.grid import Grid, back, grid_of, onto
from radlearn.records.guard import DEFAULT_LIMITS, Limits
from radlearn.records.intensity import Window, scaled, unscaled, window_of
from radlearn.records.record import SetAside
from radlearn.records.volume import Volume, read_dicom_volume, read_volume
from radlearn.records.volume_files import Told, answer_path, write_volume
from radlearn.translation.inference import OVERLAP, Translator, load_translator
from radlearn.translation.inputs import Exam, exams

STRAYS = 1e-3  # share of the foreground that the training's size may leave out: specks of noise


@dataclass(frozen=True, eq=False)
class Source:
    """An exam's sources on one grid.

    Attributes:
        volumes: as they were read; every answer keeps to the space of the first.
        windows: of the sources, in their order.
        values: in the sources' windows, not clipped, (C, D, H, W).
    """

    volumes: tuple[Volume, ...]
    grid: Grid
    windows: tuple[Window, ...]
    values: Float32[np.ndarray, "channels depth height width"]

    @property
    def first(self) -> Volume:
        return self.volumes[0]


def predict_volumes(
    run: Path,
    inputs: Sequence[Path],
    out: Path,
    batch: int,
    here: Compute,
    limits: Limits = DEFAULT_LIMITS,
) -> int:
    """Write the target that the run makes of every exam, `NAME_TARGET` below `out`.

    Args:
        out: folder of the answers; an answer that is there is replaced.
        batch: slices at a time.
        limits: of a file, and of a series.

    Returns:
        0 when every exam was answered for, 1 when some could not be read; these are named.

    Raises:
        InputError: the run is not finished, an input is missing, no exam could be read, or answers
            would overwrite an input or each other.
    """
    translator = replace(load_translator(run, here), batch=batch)
    names = translator.config["source_names"], translator.config["target_names"]
    asked, refused = exams(inputs, *names)
    _check_places(asked, out)
    writable(out)
    answered = 0
    with progress("predict", len(asked), unit="exams") as ticker:
        for exam in asked:
            try:
                _answer(translator, exam, out, limits)
                answered += 1
            except UnreadableError as error:
                reason = str(error).removeprefix(f"{Path(exam.name).name}: ")
                refused.append(SetAside(exam.name, reason))
            ticker.advance()
    for one in refused:
        console.print(f"cannot read {one.path}: {one.reason}", style="yellow")
    if not answered:
        raise InputError(f"none of the {len(refused)} exams given could be read")
    console.print(f"{answered} exams answered for, {len(refused)} not read: {out}")
    return 1 if refused else 0


def read_source(config: dict[str, Any], scans: Sequence[Scan], limits: Limits) -> Source:
    """Read an exam's sources and bring them onto the grid that the run was trained on.

    In 2-D a plane of the run's size, centred on the foreground; in 3-D, and where a plane of that
    size would leave foreground out, all of the volume.

    Raises:
        UnreadableError: one cannot be read, or is constant.
    """
    volumes = tuple(read_noted(scan, limits) for scan in scans)
    windows = tuple(window_of(volume.values, config["percentile"]) for volume in volumes)
    grid = _grid(config, volumes[0], windows[0])
    values = [
        scaled(onto(volume, grid, fill=window.low), window)
        for volume, window in zip(volumes, windows, strict=True)
    ]
    return Source(volumes, grid, windows, np.stack(values))


def read_noted(scan: Scan, limits: Limits) -> Volume:
    """Read a scan and say what was changed in reading.

    Raises:
        UnreadableError: see `read_volume`.
    """
    at = scan.path
    volume = read_dicom_volume(at, scan.files, limits) if scan.files else read_volume(at, limits)
    for note in volume.notes:
        console.print(f"{shown(at)}: {note}", style="yellow")
    return volume


def translated(
    translator: Translator, values: Float32[np.ndarray, "channels_in depth height width"]
) -> Float32[np.ndarray, "channels_out depth height width"]:
    """G(a) of a volume of any size, in [-1, 1].

    Planes of another size than the run's are translated by overlapping windows of that size, which
    are blended: networks that normalise over a plane depend on how much of it is head.

    Args:
        values: as `Source` has them; clipped here.

    Raises:
        InputError: the generator's answer is not finite.
    """
    seen = np.clip(values, BACKGROUND, 1)
    size = tuple(translator.config["size"])
    if translator.patch is not None or seen.shape[2:] == size:
        made = translator.translate(seen)
    else:
        made = _by_windows(seen, size, translator)
    if not np.isfinite(made).all():
        raise InputError("the run's generator answers with NaN; its training went wrong")
    return made


def _grid(config: dict[str, Any], volume: Volume, window: Window) -> Grid:
    axis, spacing = config["axis"], config["spacing"]
    whole = grid_of(volume, axis, None, spacing, window)
    if config["patch"] is not None:
        return whole
    cut = grid_of(volume, axis, config["size"], spacing, window)
    foreground = onto(volume, whole, fill=window.low) > window.foreground
    offset = np.rint(np.linalg.inv(whole.affine) @ cut.affine)[1:3, 3].astype(int)
    box = tuple(
        slice(max(start, 0), max(start + size, 0))
        for start, size in zip(offset.tolist(), cut.shape[1:], strict=True)
    )
    left_out = foreground.sum() - foreground[:, *box].sum()
    return whole if left_out > STRAYS * foreground.sum() else cut


def _by_windows(seen: np.ndarray, size: tuple[int, ...], translator: Translator) -> np.ndarray:
    from monai.inferers.utils import sliding_window_inference

    def predictor(windows: Tensor) -> Tensor:
        made = translator.translate(windows.numpy().swapaxes(0, 1))
        return torch.from_numpy(np.ascontiguousarray(made.swapaxes(0, 1)))

    parts = []
    for start in range(0, seen.shape[1], translator.batch):
        slices = np.ascontiguousarray(seen[:, start : start + translator.batch].swapaxes(0, 1))
        made = sliding_window_inference(
            torch.from_numpy(slices),
            size,
            sw_batch_size=translator.batch,
            predictor=predictor,
            overlap=OVERLAP,
            mode="gaussian",
            padding_mode="constant",
            cval=BACKGROUND,
        )
        assert isinstance(made, Tensor)
        parts.append(made.numpy().swapaxes(0, 1))
    return np.concatenate(parts, 1)


def _answer(translator: Translator, exam: Exam, out: Path, limits: Limits) -> None:
    config = translator.config
    source = read_source(config, exam.scans, limits)
    made = translated(translator, source.values)
    for name, values, ends in zip(
        config["target_names"], made, config["target_windows"], strict=True
    ):
        window = Window(*ends)
        values = back(unscaled(values, window), source.grid, source.first, fill=window.low)
        place = out / exam.place.with_name(f"{exam.place.name}_{name}")
        not_over(answer_path(place, source.first), exam.scans)
        write_volume(place, values, source.first, _told(config, name, window))


def _told(config: dict[str, Any], name: str, window: Window) -> Told:
    sources = "+".join(config["source_names"])
    return Told(
        f"{name} made from {sources} by radlearn (not acquired)",
        f"{name} computed from {sources} by a network that radlearn trained (mode "
        f"{config['mode']}); not acquired from the patient",
        window.low,
        window.high,
    )


def _check_places(asked: Sequence[Exam], out: Path) -> None:
    """Refuse before any work where two exams would have one answer."""
    seen: dict[Path, Exam] = {}
    for exam in asked:
        if exam.place in seen:
            raise InputError(
                f"{seen[exam.place].name} and {exam.name} would both be answered by "
                f"{out / exam.place}; predict them into folders of their own"
            )
        seen[exam.place] = exam


def not_over(answer: Path, scans: Sequence[Scan]) -> None:
    """Refuse to write over what was read, or into the folder of a series that was read.

    Raises:
        InputError: `answer` is one of the scans or below one.
    """
    target = answer.resolve()
    for scan in scans:
        source = scan.path.resolve()
        if target == source or (source.is_dir() and source in target.parents):
            raise InputError(f"{answer} would be written over {source}; give another --out")
