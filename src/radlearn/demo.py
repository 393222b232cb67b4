"""`radlearn demo`: the whole way of a lab, on radiographs, reports and scans drawn by script."""

from pathlib import Path

import numpy as np
from PIL import Image

from radlearn.cli import call
from radlearn.compare import make_backbones, run_cells, show_table
from radlearn.demo_translation import translation
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.grids.recipe import Cell, Recipe
from radlearn.grids.settings import DemoConfig
from radlearn.grids.table import run_of, write_table
from radlearn.records.phantoms import LABEL_NAMES, write_phantoms
from radlearn.report.page import Gallery, Picture, Section
from radlearn.report.pictures import encode

PATIENTS = 400
SIZE = 96
RESAMPLES = 1000


def recipe(hospital: Path, seed: int) -> Recipe:
    """What the demo runs, of sizes that fit into minutes."""
    return Recipe(
        title="Phantom radiographs: few labels, tuned three ways",
        about={
            "data": "drawn by script, no patient in it; every number is of phantoms alone",
            "question": "how far do few labels go, tuned three ways?",
        },
        stores={
            "phantoms": {
                "layout": "folder",
                "source": str(hospital),
                "table": hospital / "records.csv",
                "label_columns": LABEL_NAMES,
                "size": SIZE,
                "val": 0.15,
                "test": 0.35,
                "seed": seed,
            }
        },
        backbones={
            "mrm": {
                "stores": ["phantoms"],
                "model": "tiny",
                "image_size": 48,
                "patch": 8,
                "words": 1000,
                "epochs": 40,
                "batch": 64,
                "lr": 4e-3,
                "warmup": 0.1,
                "seed": seed,
            }
        },
        finetune={
            "stores": ["phantoms"],
            "model": "tiny",
            "image_size": 48,
            "patch": 8,
            "batch": 32,
            "crop": 0.7,
            "evaluations": 8,
            "warmup": 0.1,
        },
        tuners={
            "lora": {"rank": 4, "lr": 5e-3},
            "full": {"lr": 1e-3, "layer_decay": 0.6},
            "linear": {"lr": 1e-2, "weight_decay": 0.0},
        },
        fractions={"0.1": {"steps": 50}, "1": {"steps": 120}},
        grid={
            "init": ["mrm"],
            "tuner": ["lora", "full", "linear"],
            "fraction": [0.1, 1.0],
            "seed": [seed],
        },
        labels=("Consolidation", "Effusion"),
    )


def demo(config: DemoConfig) -> None:
    """Run it all; ends by printing the table and where the page is."""
    hospital, out = config.out / "hospital", config.out
    if not (hospital / "records.csv").exists():
        console.print(f"drawing {PATIENTS} patients into {hospital}")
        write_phantoms(hospital, PATIENTS, 2 * SIZE, config.seed)
    experiment = recipe(hospital, config.seed)
    make_backbones(experiment, out)
    for cell, reason in run_cells(experiment, out, experiment.cells()).items():
        raise InputError(f"{cell} failed: {reason}")
    run = run_of(out, Cell("mrm", "lora", 1.0, config.seed))
    given = [run, hospital / "dicom", "--out", out / "predictions.csv", "--saliency", out / "maps"]
    call("predict", [str(one) for one in given])
    heads = translation(out, config.seed)
    command = f"radlearn demo --out {out} --seed {config.seed}"
    write_table(experiment, out, RESAMPLES, command, [_predictions(out), heads])
    show_table(out)


def _predictions(out: Path) -> Section:
    """The DICOM files that were predicted, and what spoke for their likeliest label."""
    pictures = []
    for path in sorted((out / "maps").glob("*.png")):
        file, label = path.stem.rsplit(".", 1)
        picture = encode(np.asarray(Image.open(path)))
        pictures.append(Picture([("", picture)], f"{file}: {label}", label))
    text = (
        "DICOM files that no model has seen, by LoRA with all labels; bright is what spoke for "
        f"the likeliest label. The probabilities are in {out / 'predictions.csv'}."
    )
    return Section("Predictions", text, [Gallery("Saliency", pictures)])
