"""How much memory a few steps take, in a process that does nothing else."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from radlearn.bench.figure import OURS, PLAIN, Setting
from radlearn.bench.sizes import SIZES
from radlearn.engine.cost import peak_memory
from radlearn.engine.device import compute

STEPS = 1
AGAIN = "ours, computed again"


def peaks(name: str, setting: Setting) -> dict[str, int]:
    """Bytes at the peak of steps of tuning `name`, by form; all of the process on a CPU."""
    forms = [OURS, AGAIN, *([PLAIN] if setting.plain else [])]
    return {form: _peak(name, form, setting) for form in forms}


def _peak(name: str, form: str, setting: Setting) -> int:
    here = setting.here
    precision = "bfloat16" if here.bfloat16 else "float32"
    command = [sys.executable, "-m", "radlearn.bench.alone", name, form, setting.sizes.name]
    said = subprocess.run(
        [*command, here.device.type, precision], check=True, capture_output=True, text=True
    )
    return json.loads(said.stdout.splitlines()[-1])


def _alone(name: str, form: str, size: str, device: str, precision: str) -> int:
    from radlearn.bench.finetuning import plain_tuning, tuning
    from radlearn.bench.timing import WARM, training_steps

    here = compute(device, precision)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(SIZES[size], STEPS, False, here, Path(folder))
        if form != PLAIN:
            return training_steps(tuning(name, setting, form == AGAIN), setting).memory
        step = plain_tuning(name, setting)
        for _ in range(STEPS + WARM):
            step()
        return peak_memory(here.device)


if __name__ == "__main__":
    print(_alone(*sys.argv[1:]))
