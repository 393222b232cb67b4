"""Run under a launcher: commands of a JSON file, one after the other, in the same processes.

With "double" as a second word translation computes in float64, so that what is left of a difference
is no rounding.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

import radlearn.translation.run as translation
from radlearn.cli import main
from radlearn.engine.device import Compute
from radlearn.translation.inference import Translator


def run_all(commands: Path) -> int:
    """0 where all of them ended well."""
    return max(main(command) for command in json.loads(commands.read_text()))


def in_double() -> None:
    build, put, volume = translation.build_networks, Compute.put, Translator._put

    def widened(here: Compute, batch: Any) -> dict[str, Any]:
        made = put(here, batch)
        return {
            k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v
            for k, v in made.items()
        }

    translation.build_networks = lambda *given: {k: v.double() for k, v in build(*given).items()}
    Compute.put = widened
    Translator._put = lambda answers, values: volume(answers, values).double()


if __name__ == "__main__":
    if "double" in sys.argv[2:]:
        in_double()
    sys.exit(run_all(Path(sys.argv[1])))
