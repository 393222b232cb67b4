"""One store beside another of a hundred times its records: memory, rate, and how soon a run begins.

Each is measured in a process of its own, which says what it found as a line of JSON.
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from radlearn.bench.large_store import LEAST, make_store
from radlearn.bench.loading import training_batches
from radlearn.errors import InputError
from radlearn.finetuning.config import FinetuneConfig
from radlearn.records.record import Split
from radlearn.records.store import open_store, select

LOADED = 2048  # pictures of a measurement, drawn from all of the store
MOST_SLOWER, MOST_MORE = 0.1, 200e6


@dataclass(frozen=True)
class StoreCost:
    """What a store costs.

    Attributes:
        records: how many it has.
        prepare_memory: bytes at the peak of the process that prepared it.
        prepare_seconds: of that.
        load_rate: augmented training pictures a second and core, by its processor time.
        run_seconds: of a core, for a whole run of one step, its results and page included.
    """

    records: int
    prepare_memory: int
    prepare_seconds: float
    load_rate: float
    run_seconds: float


@dataclass(frozen=True)
class StoreGrowth:
    """The large store beside the small one."""

    small: StoreCost
    large: StoreCost

    @property
    def slower(self) -> float:
        """By what share the large one loads slower."""
        return 1 - self.large.load_rate / self.small.load_rate

    @property
    def more_memory(self) -> float:
        """Bytes that preparing the large one takes more."""
        return self.large.prepare_memory - self.small.prepare_memory

    @property
    def flat(self) -> bool:
        """Whether neither grows more than it may."""
        return self.slower <= MOST_SLOWER and self.more_memory <= MOST_MORE


def store_growth(folder: Path, records: int, side: int, repeats: int) -> StoreGrowth:
    """Make and measure both; the folder is the caller's to remove."""
    small, large = (
        _elsewhere(folder / name, count, side, repeats)
        for name, count in (("small", max(records // 100, LEAST)), ("large", records))
    )
    return StoreGrowth(small, large)


def _elsewhere(folder: Path, *settings: int) -> StoreCost:
    """Prepare in one process, and measure in another."""
    found: dict[str, float] = {}
    for part in ("prepare", "use"):
        command = [sys.executable, "-m", "radlearn.bench.store_growth", part, str(folder)]
        said = subprocess.run([*command, *map(str, settings)], capture_output=True, text=True)
        if said.returncode:
            raise InputError(f"a store of {settings[0]} records failed: {said.stderr[-500:]}")
        found |= json.loads(said.stdout.splitlines()[-1])
    return StoreCost(settings[0], **found)  # type: ignore[arg-type]


def prepared(folder: Path, records: int, side: int, repeats: int) -> dict[str, float]:
    """Make the store; this process's peak, and seconds."""
    began = time.perf_counter()
    make_store(folder, records, side, workers=0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024
    return {"prepare_memory": most * scale, "prepare_seconds": time.perf_counter() - began}


def used(folder: Path, records: int, side: int, repeats: int) -> dict[str, float]:
    """Load pictures from everywhere in the store, then take a run of one step."""
    import torch

    from radlearn.finetuning.run import finetune

    torch.set_num_threads(1)
    chosen = select([open_store(folder / "store")], split=Split.TRAIN, needs={"image"})
    batches = training_batches(chosen, side)
    rng = np.random.default_rng(0)
    rates = []
    for step in range(repeats + 1):
        places = rng.integers(0, len(chosen), LOADED)
        began = time.process_time()
        for start in range(0, LOADED, 16):
            batches.images(places[start : start + 16], step)
        rates.append(LOADED / (time.process_time() - began))
    began = time.process_time()
    finetune(
        FinetuneConfig(
            (folder / "store",),
            folder / "run",
            model="vit_tiny_patch16_224",
            image_size=32,
            steps=1,
            batch=2,
            device="cpu",
        )
    )
    return {"load_rate": median(rates[1:]), "run_seconds": time.process_time() - began}


if __name__ == "__main__":
    name, place, *numbers = sys.argv[1:]
    measure = {"prepare": prepared, "use": used}[name]
    print(json.dumps(measure(Path(place), *map(int, numbers))))
