"""The demo's translation: T2 from T1 of phantom heads, trained on pairs that do not line up."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import UInt8

from radlearn.cli import call
from radlearn.engine.log import console
from radlearn.files import read_json
from radlearn.metrics.slice_scores import SCORES
from radlearn.records.phantom_heads import write_heads
from radlearn.report.overview import links_section
from radlearn.report.page import Gallery, Item, Picture, Section, Table
from radlearn.report.panels import ERROR_COLOURS, Panel, error_limit, grey, in_colour, read_panels
from radlearn.report.pictures import encode
from radlearn.report.translation import measure

HEADS = 12
SIDE = 48
LEVEL = 3
RUNS = {"p2p": "P2P", "nc+r": "NC+R"}
SHOWN = ("paper_psnr", "paper_ssim", "standard_ssim")
TRAINING: dict[str, Any] = {
    "misalign": LEVEL,
    "size": "tiny",
    "steps": 180,
    "batch": 4,
    "lr": 7e-4,
    "average": 0.98,
    "evaluations": 1,
}


def translation(out: Path, seed: int) -> Section:
    """Draw heads; prepare, translate in both modes, evaluate and predict.

    Args:
        out: the demo's folder.

    Returns:
        The part of the demo's page.
    """
    heads, new, place = out / "heads", out / "new_heads", out / "translation"
    if not (heads / f"head{HEADS:03d}" / "FLAIR.nii.gz").exists():
        console.print(f"drawing {HEADS} heads into {heads}")
        write_heads(new, 1, SIDE, seed + 1)
        write_heads(heads, HEADS, SIDE, seed)
    store = out / "stores" / "heads"
    pair = ["--source", "T1", "--target", "T2"]
    held = ["--val", 0, "--test", 0.25, "--seed", seed]
    cut = ["--size", SIDE, "--min-foreground", 0.25]
    _call("prepare", "mri-pairs", heads, store, *pair, *cut, *held)
    runs = {mode: place / title for mode, title in RUNS.items()}
    flags = [part for name, value in TRAINING.items() for part in (f"--{name}", value)]
    for mode, run in runs.items():
        _call("translate", store, "--run", run, "--mode", mode, "--seed", seed, *flags)
    _call("evaluate", *runs.values(), "--out", place / "differences.json")
    _call("predict", runs["nc+r"], new, "--out", place / "made")
    return _section(out, list(runs.values()), new)


def _call(command: str, *arguments: object) -> None:
    call(command, [str(one) for one in arguments])


def _section(out: Path, runs: Sequence[Path], new: Path) -> Section:
    differences = read_json(out / "translation" / "differences.json", "a comparison")
    links = {run.name: run / "report.html" for run in runs}
    links["differences"] = out / "translation" / "differences.html"
    items: list[Item] = [
        _scores(runs, differences["pairs"][0]),
        _panels([read_panels(run) for run in runs]),
        _predicted(sorted(new.glob("*/T1.nii.gz")), out / "translation" / "made"),
        *links_section(out / "report.html", links).items,
    ]
    text = (
        f"T2 from T1 of heads drawn by script. Training pairs are out of line by RegGAN's level "
        f"{LEVEL}; the {differences['slices']:,} slices of {differences['patients']:,} heads that "
        f"are scored line up. Both modes took {TRAINING['steps']:,} steps. P2P (Pix2Pix) takes "
        "every pair at its word; NC+R (RegGAN) learns besides how pairs do not line up."
    )
    return Section("Translation", text, items)


def _scores(runs: Sequence[Path], pair: Mapping[str, Any]) -> Table:
    evaluations = [read_json(run / "evaluation.json", "an evaluated run") for run in runs]
    rows = [
        [run.name, *(measure(name, one["scores"][name]["overall"]) for name in SHOWN)]
        for run, one in zip(runs, evaluations, strict=True)
    ]
    between = (measure(name, pair["scores"][name]["overall"], signed=True) for name in SHOWN)
    rows.append([f"{pair['second']} − {pair['first']}", *between])
    columns = ["", *(SCORES[name] for name in SHOWN)]
    return Table("Both modes on heads held apart", columns, rows, pair["intervals"])


def _panels(runs: Sequence[Sequence[Panel]]) -> Gallery:
    """The same slices as both runs translated them."""
    limit = error_limit([panel for run in runs for panel in run])
    pictures = []
    for panels in zip(*runs, strict=True):
        first = panels[0]
        images = [("T1", grey(first.source[0])), ("T2", grey(first.target[0]))]
        for title, panel in zip(RUNS.values(), panels, strict=True):
            images.append((title, grey(panel.made[0])))
        for title, panel in zip(RUNS.values(), panels, strict=True):
            colours = in_colour(panel.error[0], 0, limit, ERROR_COLOURS)
            images.append((f"error of {title}", colours))
        shown = [(name, encode(image)) for name, image in images]
        pictures.append(Picture(shown, f"slice {first.slice}: source, target, both translations"))
    caption = f"Errors from 0 (black) to {limit:.2f} of the range (bright)."
    return Gallery("Source, target, and what both modes make", pictures, caption, width=640)


def _predicted(sources: Sequence[Path], made: Path) -> Gallery:
    """The middle of whole volumes: what went in, what came out in its space, and what was drawn."""
    pictures = []
    for source in sources:
        exam = source.parent
        answer = next(made.rglob(f"*{exam.name}*T2.nii*"))
        files = {"T1": source, "made T2": answer, "T2 as drawn": exam / "T2.nii.gz"}
        shown = [(name, encode(_middle(file))) for name, file in files.items()]
        pictures.append(Picture(shown, f"{exam.name}: middle slice", answer.name))
    caption = f"A head that no model has seen, by NC+R, in its own space: {made}."
    return Gallery("A whole NIfTI volume", pictures, caption, width=320)


def _middle(file: Path) -> UInt8[np.ndarray, "rows columns"]:
    volume = nibabel.as_closest_canonical(nibabel.load(file)).get_fdata()
    plane = np.rot90(volume[::-1, :, volume.shape[2] // 2])
    return grey(2 * plane / np.percentile(volume, 99.5) - 1)
