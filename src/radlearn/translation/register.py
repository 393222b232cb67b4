"""`radlearn register`: a translation run's R on a new pair: warped source, field and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from scipy import ndimage

from radlearn.datasets.pair_candidates import Scan
from radlearn.engine.device import compute
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.files import replacing, shown, writable, write_json
from radlearn.metrics.translation import BACKGROUND, paper_scores, standard_scores
from radlearn.models.registration import Registration, folding_share
from radlearn.records.grid import back, onto
from radlearn.records.guard import Limits
from radlearn.records.intensity import scaled, window_of
from radlearn.records.volume import Volume
from radlearn.records.volume_files import Told, answer_path, write_field, write_volume
from radlearn.report.registration import draw_registration
from radlearn.translation.config import RegisterConfig
from radlearn.translation.inference import Translator, load_translator
from radlearn.translation.inputs import exam_scans
from radlearn.translation.predict import Source, not_over, read_noted, read_source, translated

FIELD = "field.nii.gz"

Stack = Float32[np.ndarray, "channels depth height width"]
Field = Float32[np.ndarray, "dims depth height width"]


def register(config: RegisterConfig) -> None:
    """Register a pair and write what came out.

    Raises:
        InputError: the run is not finished or has no registration, a scan is missing or cannot be
            read, or the output would be written over it.
    """
    translator = load_translator(config.run, compute(config.device, "float32"))
    translator = replace(translator, batch=config.batch)
    about = translator.config
    if translator.registration is None:
        raise InputError(
            f"{config.run} was trained in mode {about['mode']}, which has no registration; give a "
            "run of nc+r, c+r or p2p+r"
        )
    scans = exam_scans(config.moving, about["source_names"])
    fixed_scans = exam_scans(config.fixed, about["target_names"])
    source = read_source(about, scans, config.limits.limits)
    target = _on_grid(about, fixed_scans, source, config.limits.limits)
    answers = [config.out / f"moved_{name}" for name in about["source_names"]]
    for answer in (*(answer_path(one, source.first) for one in answers), config.out / FIELD):
        not_over(answer, (*scans, *fixed_scans))
    writable(config.out)

    made = translated(translator, source.values)
    field, registered = _registered(translator, made, target)
    millimetres = _millimetres(field, source)
    foreground = np.concatenate([target, source.values]).max(0) > BACKGROUND
    facts = {
        "run": shown(config.run),
        "mode": about["mode"],
        "moving": [shown(scan.path) for scan in scans],
        "fixed": [shown(scan.path) for scan in fixed_scans],
        "before": _scores(made, target),
        "after": _scores(registered, target),
        **_displacement(millimetres, foreground),
        "folding_share": _folding(field),
    }
    own = np.stack([back(part, source.grid, source.first, fill=0.0) for part in millimetres])
    write_field(config.out / FIELD, own, source.first)
    for answer, name, volume, window in zip(
        answers, about["source_names"], source.volumes, source.windows, strict=True
    ):
        fixed = "+".join(about["target_names"])
        told = Told(
            f"{name} moved onto {fixed} by radlearn",
            f"{name} resampled by the displacement that radlearn found to {fixed}",
            window.low,
            window.high,
        )
        write_volume(answer, moved(volume, own, source.first), source.first, told)
    at = int(foreground.sum((1, 2)).argmax())
    images = {"source": source.values, "target": target, "G(a)": made, "registered": registered}
    with replacing(config.out / "panel.png") as temporary:
        draw_registration(
            temporary, {name: stack[0, at] for name, stack in images.items()}, field[-2:, at]
        )
    write_json(config.out / "registration.json", facts)
    _say(facts, config.out)


def moved(
    volume: Volume, field: Float32[np.ndarray, "3 i j k"], like: Volume
) -> Float32[np.ndarray, "i j k"]:
    """A volume's values at x + phi(x) for every voxel x of `like`; its border goes on outside.

    Args:
        field: phi, millimetres along R, A and S.
    """
    to_index = np.linalg.inv(volume.affine)
    whole = to_index @ like.affine
    made = np.empty(like.values.shape, np.float32)
    for i in range(len(made)):  # a plane at a time, so that coordinates in float64 stay small
        places = np.indices((1, *made.shape[1:]), np.float64)
        places[0] += i
        at = np.tensordot(whole[:3, :3], places, 1) + whole[:3, 3].reshape(3, 1, 1, 1)
        at += np.tensordot(to_index[:3, :3], field[:, i : i + 1], 1)
        made[i] = ndimage.map_coordinates(volume.values, at[:, 0], order=1, mode="nearest")
    return made


def _on_grid(about: dict[str, Any], scans: Sequence[Scan], source: Source, limits: Limits) -> Stack:
    parts = []
    for scan in scans:
        volume = read_noted(scan, limits)
        window = window_of(volume.values, about["percentile"])
        parts.append(scaled(onto(volume, source.grid, fill=window.low), window))
    target = np.clip(np.stack(parts), BACKGROUND, 1)
    if (target == BACKGROUND).all():
        raise InputError(
            f"{scans[0].path} and the source lie apart by their headers: nothing of it is on the "
            "source's grid; see whether both are of one exam"
        )
    return target


def _registered(translator: Translator, made: Stack, target: Stack) -> tuple[Field, Stack]:
    """R's field and what it makes of G(a), with background around what is too small for R."""
    assert isinstance(translator.registration, Registration)
    least = translator.registration.config.smallest_side
    sides = made.shape[1:]
    wanted = [max(side, least) for side in sides]
    if translator.patch is None:
        wanted[0] = sides[0]
    more = [(0, 0), *((0, want - side) for want, side in zip(wanted, sides, strict=True))]
    around = [np.pad(stack, more, constant_values=BACKGROUND) for stack in (made, target)]
    d, h, w = sides
    field, registered = translator.register(*around)
    if not np.isfinite(field).all():
        raise InputError("the run's registration answers with NaN; its training went wrong")
    return field[:, :d, :h, :w], registered[:, :d, :h, :w]


def _millimetres(field: Field, source: Source) -> Float32[np.ndarray, "3 depth height width"]:
    """The field along R, A and S; what R does not know of, along the slices in 2-D, is 0."""
    axes = source.grid.affine[:3, 3 - len(field) : 3]
    return np.tensordot(axes, field, 1).astype(np.float32)


def _scores(made: Stack, target: Stack) -> dict[str, float]:
    """Means over the slices that show something of the target."""
    rows = []
    for at in np.flatnonzero((target > BACKGROUND).any((0, 2, 3))):
        kinds = {"paper": paper_scores, "standard": standard_scores}
        scores = {kind: score(made[:, at], target[:, at]) for kind, score in kinds.items()}
        rows.append({f"{k}_{n}": value for k, each in scores.items() for n, value in each.items()})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _displacement(
    millimetres: Float32[np.ndarray, "3 depth height width"],
    foreground: Bool[np.ndarray, "depth height width"],
) -> dict[str, float]:
    lengths = np.linalg.norm(millimetres, axis=0)[foreground]
    return {"mean_mm": float(lengths.mean()), "max_mm": float(lengths.max())}


def _folding(field: Field) -> float:
    flow = torch.from_numpy(np.ascontiguousarray(field))
    flow = flow.movedim(1, 0) if len(field) == 2 else flow[None]
    return folding_share(flow).mean().item()


def _say(facts: Mapping[str, Any], out: Path) -> None:
    before, after = facts["before"], facts["after"]
    console.print(
        f"PSNR {before['paper_psnr']:.2f} dB before, {after['paper_psnr']:.2f} dB after; "
        f"NMAE {before['paper_nmae']:.4f} and {after['paper_nmae']:.4f}; "
        f"moved by {facts['mean_mm']:.2f} mm on average, {facts['max_mm']:.2f} mm at most; "
        f"folding {facts['folding_share']:.2%}: {out}"
    )
