"""What the parity folder's README says, as code: where the cases are and how weights are filled."""

import json
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]


def parity_folder() -> Path:
    """The folder of the cases: RADLEARN_PARITY, by default beside the project's own folder."""
    return Path(os.environ.get("RADLEARN_PARITY", ROOT.parent / "shared" / "parity"))


@dataclass(frozen=True)
class Case:
    """One case: a .json of settings and expected numbers with, mostly, a .npz of arrays beside."""

    path: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path.with_suffix(".npz")) as file:
            return {name: file[name] for name in file.files}

    @property
    def config(self) -> dict[str, Any]:
        return self.facts["config"]

    @property
    def seed(self) -> int:
        return self.facts["seed"]

    def weights(self, listed: str = "state_dict", prefix: str = "") -> dict[str, Tensor]:
        """Every tensor listed under `listed`, filled by the rule; `prefix` goes before each key."""
        return {
            key: torch.from_numpy(values(prefix + key, shape, self.seed))
            for key, shape in self.facts[listed].items()
        }


def cases(pattern: str, needs: Iterable[str] = ("config",)) -> list[Any]:
    """Parametrisation over the files that match `pattern` and hold every key of `needs`.

    Where there is none, one parameter that is skipped with the reason.
    """
    found = [Case(path) for path in sorted(parity_folder().glob(pattern))]
    found = [case for case in found if set(needs) <= set(case.facts)]
    if not found:
        reason = f"no {pattern} in {parity_folder()}; set RADLEARN_PARITY to the folder of cases"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [pytest.param(case, id=case.path.stem) for case in found]


def values(key: str, shape: Iterable[int], seed: int) -> np.ndarray:
    """The weights of the tensor named `key`: float32 of `shape`, a pure function of the three."""
    shape = tuple(shape)
    z = np.random.RandomState(zlib.crc32(f"{seed}:{key}".encode())).standard_normal(shape)
    if len(shape) >= 2:
        z = z / math.sqrt(math.prod(shape[1:]))
    else:
        z = 0.1 * z + (1.0 if key.endswith("weight") else 0.0)
    return z.astype(np.float32)


def largest_difference(found: Any, expected: Any) -> float:
    """The largest absolute difference, relative to the largest expected value."""
    found, expected = (np.asarray(x, dtype=np.float64) for x in (found, expected))
    assert found.shape == expected.shape, f"shapes differ: {found.shape} and {expected.shape}"
    return float(np.abs(found - expected).max() / np.abs(expected).max())
