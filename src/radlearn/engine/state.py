"""What a run needs to go on as if it had never stopped: a step number, weights and optimisers.

Everything random is a function of (seed, step), so no random state is saved.
"""

import warnings
from pathlib import Path
from typing import Any

import torch

from radlearn.errors import InputError
from radlearn.files import replacing

KEPT = 2


def state_files(folder: Path) -> list[Path]:
    """Saved states, the newest last."""
    return sorted(folder.glob("step-*.pt"))


def save_state(folder: Path, step: int, payload: dict[str, Any]) -> None:
    """Write the state after `step` steps, then forget all but the last two."""
    with replacing(folder / f"step-{step:08d}.pt") as temporary:
        torch.save({"step": step} | payload, temporary)
    for old in state_files(folder)[:-KEPT]:
        old.unlink()


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest state that is whole, None where a run has not saved one.

    Raises:
        InputError: states are there and none of them can be read.
    """
    files = state_files(folder)
    for file in reversed(files):
        try:
            payload: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            return payload
        except Exception as error:
            warnings.warn(
                f"{file} cannot be read ({error}); the state before it is used", stacklevel=2
            )
    if files:
        raise InputError(f"no state in {folder} can be read; remove the run folder to start again")
    return None


def load_best(file: Path, device: torch.device) -> dict[str, Any]:
    """The weights of the best evaluation.

    Raises:
        InputError: they cannot be read.
    """
    try:
        weights: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # a file cut short fails in any way inside of the reader
        raise InputError(
            f"{file} cannot be read ({type(error).__name__}); the best weights were there: remove "
            "the run folder and train again"
        ) from error
    return weights
