"""Work without networks: the bootstrap of a large test set, and the command line's start."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np

from radlearn.bench.figure import OURS, Figure, Setting
from radlearn.bench.timing import in_turn
from radlearn.metrics.classification import rankings
from radlearn.metrics.statistics import bootstrap_patients

POSITIVE = 0.1


def bootstrap(setting: Setting) -> Figure:
    """Seconds of AUROC and average precision of every label in every resample."""
    sizes, rng = setting.sizes, np.random.default_rng(0)
    truth = (rng.random((sizes.records, sizes.labels)) < POSITIVE).astype(np.float64)
    scores = rng.normal(size=truth.shape) + truth

    def resampled() -> None:
        rankings(scores, truth, bootstrap_patients(range(len(truth)), sizes.resamples, 0))

    return Figure(
        "bootstrap",
        f"{sizes.resamples:,} resamples of {sizes.labels} labels of {sizes.records:,} images",
        "resamples",
        sizes.resamples,
        in_turn({OURS: resampled}, setting),
        most_seconds=10,
    )


def opening(setting: Setting) -> Figure:
    """Seconds of `radlearn --help`, the start of Python included; of one command's as a fact."""

    def shown(*words: str) -> None:
        command = [sys.executable, "-m", "radlearn.cli", *words, "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    forms = {OURS: shown, "finetune": lambda: shown("finetune")}
    seconds = in_turn(forms, replace(setting, now=time.perf_counter))  # of other processes
    slower = sorted(seconds.pop("finetune"))
    return Figure(
        "help",
        "radlearn --help",
        "starts",
        1,
        seconds,
        facts={"seconds of radlearn finetune --help": slower[len(slower) // 2]},
        most_seconds=0.5,
    )
