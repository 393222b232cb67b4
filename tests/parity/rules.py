"""What the parity folder's README says, as code: where cases are, how weights are filled, and how
near is near enough."""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
FORWARD, GRADIENT, STEPS, NEAR_ZERO = 1e-5, 1e-4, 1e-4, 1e-6
"""Relative to the largest expected value, but NEAR_ZERO: absolute, for gradients about zero."""
PROPERTY = "parity"


def parity_folder() -> Path:
    """The folder of the cases: RADLEARN_PARITY, by default beside the project's own folder."""
    return Path(os.environ.get("RADLEARN_PARITY") or ROOT.parent / "shared" / "parity")


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
        return self.facts.get("config", {})

    @property
    def seed(self) -> int:
        return setting(self, "seed")

    def weights(self, listed: str = "state_dict", prefix: str = "") -> dict[str, Tensor]:
        """Every tensor listed under `listed`, filled by the rule; `prefix` goes before each key."""
        return {
            key: torch.from_numpy(values(prefix + key, shape, self.seed))
            for key, shape in self.facts[listed].items()
        }


def setting(case: Case, name: str, default: Any = None) -> Any:
    """A setting of the case: from its `config`, or beside it; KeyError without a default."""
    found = {**case.facts, **case.config}
    return found[name] if default is None else found.get(name, default)


def cases(
    pattern: str, needs: Iterable[str] = ("config",), slow: Callable[[Case], bool] | None = None
) -> list[Any]:
    """Parametrisation over the files that match `pattern` and hold every key of `needs`.

    Where there is none, one parameter that is skipped with the reason. What `slow` says yes to is
    marked as slow.
    """
    found = [Case(path) for path in sorted(parity_folder().glob(pattern))]
    found = [case for case in found if set(needs) <= set(case.facts)]
    if not found:
        reason = f"no {pattern} in {parity_folder()}; set RADLEARN_PARITY to the folder of cases"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    return [
        pytest.param(
            case,
            id=case.path.stem,
            marks=[pytest.mark.slow] if slow is not None and slow(case) else [],
        )
        for case in found
    ]


def parameters(shapes: Mapping[str, Iterable[int]]) -> int:
    """How many values the tensors of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())


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
    """The largest absolute difference, relative to the largest expected value unless that is 0."""
    found, expected = (np.asarray(x, dtype=np.float64) for x in (found, expected))
    assert found.shape == expected.shape, f"shapes differ: {found.shape} and {expected.shape}"
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


class Differences:
    """Differences of one test: each is kept for the end of the run, and has to be tolerable."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record
        self._found: list[tuple[str, str, str, float, float]] = []

    def add(
        self, case: Case, what: str, found: Any, expected: Any, tolerance: float, where: str = ""
    ) -> None:
        """Hold a number or an array against the expected one, relative to its largest value.

        Args:
            what: the kind of number, of which the end of the run shows the largest difference.
            where: which one of the kind.
        """
        self._add(case, what, where, largest_difference(found, expected), tolerance)

    def add_absolute(
        self, case: Case, what: str, found: float, expected: float, tolerance: float, where: str
    ) -> None:
        """Hold a number against the expected one as they are."""
        self._add(case, what, where, abs(found - expected), tolerance)

    def add_gradient(
        self, case: Case, what: str, found: Any, expected: Any, where: str = ""
    ) -> None:
        """Hold a gradient, or its norm, against the expected one; absolutely where it is tiny."""
        scale = float(np.abs(expected).max())
        relative = largest_difference(found, expected)
        if GRADIENT * scale >= NEAR_ZERO:
            self._add(case, what, where, relative, GRADIENT)
        else:
            self._add(case, f"{what}, near zero", where, relative * (scale or 1.0), NEAR_ZERO)

    def add_norms(
        self, case: Case, what: str, found: Mapping[str, Tensor], expected: Mapping[str, float]
    ) -> None:
        """Hold the norms of all gradients against the expected ones: of the same parameters.

        Added up in float32, as the expected ones were: over millions of values that alone is
        off by a thousandth, in the same way.
        """
        assert found.keys() == expected.keys()
        for name, norm in expected.items():
            self.add_gradient(case, what, float(found[name].norm()), norm, name)

    def check(self) -> None:
        """Fail where something differs by more than it may, or where nothing was compared."""
        assert self._found
        beyond = [row for row in self._found if not row[3] < row[4]]
        assert not beyond

    def _add(self, case: Case, what: str, where: str, difference: float, tolerance: float) -> None:
        row = (case.path.stem, what, where, difference, tolerance)
        self._found.append(row)
        self._record(PROPERTY, row)
