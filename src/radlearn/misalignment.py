"""`radlearn misalignment`: how far the pairs of a store are apart, and which mode suits them."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radlearn.engine.log import console, progress
from radlearn.errors import InputError
from radlearn.files import is_remote, replacing, spelled, writable, write_json
from radlearn.records.displacement import Displacement, displacement, moved
from radlearn.records.pair_settings import MisalignmentConfig
from radlearn.records.pair_store import PairStore, open_pairs, rows_of
from radlearn.report.misalignment import Worst, misalignment_page

FORMAT = 1
SHARES = np.linspace(0, 100, 101)
PARTS = {"total": (0, 1, 2), "in_plane": (1, 2), "through_plane": (0,)}


class Apart(NamedTuple):
    """What the advice rests on: medians over pairs, each at least as large as its doubt.

    Attributes:
        median_px, p90_px: in-plane displacement in pixels; every pair counts the same.
        through_slices: median displacement through the slices, in slices.
        side_px: the shorter side of a slice.
        bend_px: in-plane bends that can be there unseen, pixels.
        shift_mm: median displacement, mm.
        left_mm: median of what the best rigid map would leave of it, mm.
        shared: mutual information after registration, in multiples of chance.
    """

    median_px: float
    p90_px: float
    through_slices: float
    side_px: int
    bend_px: float
    shift_mm: float
    left_mm: float
    shared: float


def advise(apart: Apart) -> tuple[str, tuple[str, ...]]:
    """The mode that suits pairs so far apart, and why, in sentences.

    - Shared information below twice that of one image with the other turned over: nothing can be
      paired, and only the cycle of mode c holds.
    - A tenth of the pixels more than 20 % of the side apart: beyond the relative shift at RegGAN's
      highest level (NeurIPS 2021, level 5), the farthest at which R is known to bring pairs
      together.
    - Median below half a pixel, nine tenths below one, below half a slice through the slices, and
      no bend of a pixel or more that can be there unseen: what a pixel shows is the same in both,
      so that Pix2Pix's comparison pixel by pixel is safe.
    - Anything between: nc+r, RegGAN's own mode. R of 2-D slices moves nothing through the slices;
      half a slice and more is left to registration beforehand, or to three dimensions.
    """
    if apart.shared < 2:
        return "c", (
            f"Even registered, source and target share only {apart.shared:.1f} times the "
            "information that they share by chance: they do not show the same. Mode c (or c+r) "
            "needs no pairs. See whether the right scans were paired.",
        )
    if apart.p90_px > 0.2 * apart.side_px:
        return "c", (
            f"A tenth of what they show is more than {apart.p90_px:.0f} px apart, farther than "
            f"20 % of the slice's {apart.side_px} px, and a registration network is not known to "
            "bring that together. Mode c (or c+r) does not lean on the pairing.",
        )
    through = apart.through_slices >= 0.5
    distance = (
        f"in the slices half of what they show is within {apart.median_px:.2f} px and nine tenths "
        f"within {apart.p90_px:.2f} px"
    )
    lined_up = apart.median_px < 0.5 and apart.p90_px < 1 and not through
    if lined_up and apart.bend_px < 1:
        return "p2p", (
            f"The pairs line up within what a pixel can show: {distance}. Pix2Pix compares pixel "
            "by pixel and may do so here; by the paper nc+r is no worse even then.",
        )
    if lined_up:
        return "nc+r", (
            f"As a whole the pairs line up: {distance}. But tissue could be bent by "
            f"{apart.bend_px:.1f} px unseen. nc+r learns such bends away, and by the paper is no "
            "worse than p2p where there are none.",
        )
    told = [
        "The pairs are not shown to line up well enough to be compared pixel by pixel: "
        f"{distance}. nc+r learns the displacement away; p2p would learn to blur."
    ]
    if through:
        told.append(
            f"Through the slices the median may be {apart.through_slices:.2f} slices, which a "
            "registration of 2-D slices cannot undo: register first, or use --dims 3."
        )
    if apart.left_mm < 0.5 * apart.shift_mm:
        told.append(
            f"Most of it is rigid: registering first and preparing with --transforms would leave "
            f"{apart.left_mm:.2f} of the median {apart.shift_mm:.2f} mm."
        )
    return "nc+r", tuple(told)


def misalignment(config: MisalignmentConfig) -> None:
    """Measure every pair, write `misalignment.json` and `report.html`, print the table.

    A pair that cannot be measured is listed with the reason. What was measured is kept in OUT/pairs
    and not measured again.

    Raises:
        InputError: no store of pairs, no pair in it, or none that can be measured.
    """
    store = open_pairs(config.store)
    name = store.path.name
    if config.out is None and is_remote(store.path):
        raise InputError(f"{spelled(store.path)} is only read: say with --out where the page goes")
    out = config.out or store.path.with_name(f"{name}-misalignment")
    if out.resolve().is_relative_to(store.path):
        raise InputError(f"--out {out} lies in the store, which stays as it is; choose another one")
    rows = [r for r in rows_of(store, config.split) if store.has_source(r) and store.has_target(r)]
    if not rows:
        raise InputError(
            f"{spelled(store.path)} holds no pair{' of ' + config.split if config.split else ''}: "
            "nothing can be apart; unpaired scans are for the modes c and c+r"
        )
    rows = rows[: config.pairs or None]
    writable(out / "pairs")
    measured: list[tuple[dict[str, Any], Worst]] = []
    failed: list[dict[str, str]] = []
    with progress("misalignment", len(rows), unit="pair") as ticker:
        for row in rows:
            try:
                measured.append(_pair(store, row, out / "pairs", config.seed))
            except InputError as error:
                failed.append({"id": store.rows["id"][row], "reason": str(error)})
            ticker.advance()
    if not measured:
        raise InputError(
            f"no pair of {spelled(store.path)} could be measured: {failed[0]['reason']}"
        )
    result = _summary(store, [about for about, _ in measured], failed, config.seed)
    write_json(out / "misalignment.json", result)
    measured.sort(key=lambda one: -one[0]["total"]["median"])
    worst = [picture for _, picture in measured[: config.pictures]]
    command = f"radlearn misalignment {spelled(config.store)} --out {out} --seed {config.seed}"
    misalignment_page(out / "report.html", result, worst, command)
    _print(result)
    console.print(f"page: {out / 'report.html'}")


def _pair(store: PairStore, row: int, folder: Path, seed: int) -> tuple[dict[str, Any], Worst]:
    """One pair, measured now or before."""
    line = store.rows.row(row, named=True)
    source, target = store.source(row), store.target(row)
    made = [line[key] for key in ("id", "source_sha256", "target_sha256", "grid", "spacing")]
    key = hashlib.sha256(json.dumps([FORMAT, seed, made]).encode()).hexdigest()
    file = folder / f"{line['volume']:05d}-{key[:16]}.npz"
    if not file.exists():
        spacing = tuple(float(step) for step in line["spacing"])
        assert len(spacing) == 3
        one, other = (np.asarray(side, np.float32) for side in (source, target))
        found = displacement(one, other, spacing, seed)
        about = {"id": line["id"], "split": line["split"], **_about(found, one.shape[2:], spacing)}
        pictures = _worst(found, one.mean(axis=0), other.mean(axis=0), spacing)
        with replacing(file) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, about=json.dumps(about), **pictures)
    with np.load(file, allow_pickle=False) as kept:
        about = json.loads(str(kept["about"]))
        parts = (kept[name] for name in ("before", "after", "target", "field"))
        worst = Worst(about["id"], int(kept["slice"]), *parts)
    return about, worst


def _about(
    found: Displacement, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> dict[str, Any]:
    lengths = {name: found.lengths(axes) for name, axes in PARTS.items()}
    rounded = {
        name: {
            "median": round(float(np.median(values)), 3),
            "p90": round(float(np.percentile(values, 90)), 3),
            "max": round(float(values.max()), 3),
            "floor": round(found.floor(PARTS[name]), 3),
            "percentiles": np.percentile(values, SHARES).round(4).tolist(),
        }
        for name, values in lengths.items()
    }
    before, after, chance = (round(bits, 4) for bits in found.information)
    return {
        **rounded,
        "bend": round(float(np.linalg.norm(found.bend)), 3),
        "bend_in_plane": round(float(np.linalg.norm(found.bend[1:])), 3),
        "below_floor": bool(np.median(lengths["total"]) < found.floor()),
        "map": "affine" if found.affine else "rigid",
        "rigid": {
            "degrees": round(found.degrees, 3),
            "mm": round(found.shift, 3),
            "leaves": round(found.left, 3),
        },
        "information": {"before": before, "after": after, "chance": chance},
        "pixel": float(np.sqrt(spacing[1] * spacing[2])),
        "slice": float(spacing[0]),
        "side": int(min(shape)),
    }


def _worst(
    found: Displacement,
    source: np.ndarray,
    target: np.ndarray,
    spacing: tuple[float, float, float],
) -> dict[str, Any]:
    """The slice with the largest mean displacement among those that show a fair part."""
    shown = found.foreground.sum(axis=(1, 2))
    lengths = np.sqrt(np.square(found.field).sum(axis=0))
    means = (lengths * found.foreground).sum(axis=(1, 2)) / np.maximum(shown, 1)
    small = int(np.where(shown >= 0.3 * shown.max(), means, -1).argmax())
    factor = -(-len(source) // len(found.field[0]))
    depth = min(small * factor + factor // 2, len(source) - 1)
    shape = (source.shape[0], source.shape[1], source.shape[2])
    field = found.slice_at(depth, shape).astype(np.float32)
    reach = int(np.ceil(np.abs(field[0]).max() / spacing[0])) + 1
    low, high = max(depth - reach, 0), min(depth + reach + 1, len(source))
    slab = np.broadcast_to(field[:, None], (3, high - low, *shape[1:]))
    after = moved(np.ascontiguousarray(source[low:high]), slab, spacing)[depth - low]
    pixels = field[1:] / np.array(spacing[1:], np.float32)[:, None, None]
    grey = {"before": source[depth], "after": after, "target": target[depth]}
    encoded = {k: np.rint((v.clip(-1, 1) + 1) * 127.5).astype(np.uint8) for k, v in grey.items()}
    return {**encoded, "field": pixels, "slice": depth}


def _summary(
    store: PairStore, pairs: list[dict[str, Any]], failed: list[dict[str, str]], seed: int
) -> dict[str, Any]:
    def pooled(part: str, unit: str | None = None) -> np.ndarray:
        """Percentiles over all pairs, every pair counting the same."""
        of_pairs = [np.array(p[part]["percentiles"]) / (p[unit] if unit else 1) for p in pairs]
        return np.percentile(np.concatenate(of_pairs), SHARES)

    def usual(values: list[float]) -> float:
        return float(np.median(values))

    def floor(part: str, unit: str | None = None) -> float:
        return usual([pair[part]["floor"] / (pair[unit] if unit else 1) for pair in pairs])

    in_plane, through = pooled("in_plane", "pixel"), pooled("through_plane", "slice")
    apart = Apart(
        median_px=max(float(in_plane[50]), floor("in_plane", "pixel")),
        p90_px=max(float(in_plane[90]), floor("in_plane", "pixel")),
        through_slices=max(float(through[50]), floor("through_plane", "slice")),
        side_px=min(pair["side"] for pair in pairs),
        bend_px=usual([pair["bend_in_plane"] / pair["pixel"] for pair in pairs]),
        shift_mm=max(float(pooled("total")[50]), floor("total")),
        left_mm=max(usual([pair["rigid"]["leaves"] for pair in pairs]), floor("total")),
        shared=usual(
            [p["information"]["after"] / max(p["information"]["chance"], 1e-4) for p in pairs]
        ),
    )
    mode, reasons = advise(apart)
    return {
        "format": FORMAT,
        "store": store.path.name,
        "sources": store.info.get("sources", []),
        "seed": seed,
        "mode": mode,
        "reasons": list(reasons),
        "apart": apart._asdict(),
        "floor": floor("total"),
        "pooled": {part: pooled(part).round(4).tolist() for part in PARTS},
        "pairs": pairs,
        "not_measured": failed,
    }


def _print(result: dict[str, Any]) -> None:
    width = max(4, *(len(pair["id"]) for pair in result["pairs"]))
    print(f"{'pair':<{width}}  median    p90    max  in-plane  through  rigid °  floor   [mm]")
    for pair in result["pairs"]:
        total = pair["total"]
        shown = [(total[name], total["floor"]) for name in ("median", "p90", "max")]
        shown += [(pair[part]["median"], pair[part]["floor"]) for part in list(PARTS)[1:]]
        cells = [f"<{floor:.2f}" if value < floor else f"{value:.2f}" for value, floor in shown]
        cells += [f"{pair['rigid']['degrees']:.2f}", f"{total['floor']:.2f}"]
        widths = (6, 5, 5, 8, 7, 7, 5)
        row = "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        print(f"{pair['id']:<{width}}  {row}")
    for one in result["not_measured"]:
        print(f"not measured: {one['id']}: {one['reason']}")
    print(f"\nmode: {result['mode']}")
    for reason in result["reasons"]:
        print(reason)
