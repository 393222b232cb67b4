"""What the outputs of a head mean, task by task: all that prediction needs of a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, log_softmax, logsumexp, softmax

Outputs = Float[np.ndarray, "pictures outputs"]
Thresholds = Mapping[str, float | None]


class Reading(ABC):
    """How outputs are read; `of` makes it from what `facts` says, which may come from anywhere.

    Attributes:
        names: of the outputs.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError where the facts do not say enough."""
        return cls(tuple(str(name) for name in facts["labels"]))  # type: ignore[call-arg]

    def facts(self) -> dict[str, Any]:
        """What is kept with the weights, as JSON: "labels" names the outputs."""
        return {"labels": list(self.names)}

    @abstractmethod
    def columns(self, outputs: Outputs) -> dict[str, np.ndarray]:
        """Answers as columns of predictions.parquet."""

    @abstractmethod
    def cells(self, outputs: Outputs, thresholds: Thresholds) -> dict[str, list[Any]]:
        """Answers as columns of the table that `radlearn predict` writes.

        Args:
            thresholds: probability from which an output is called, where validation gave one.
        """

    def drawn(self, outputs: Outputs) -> Int[np.ndarray, "pictures"]:
        """Which output a picture of saliency is about."""
        return outputs.argmax(axis=1)


@dataclass(frozen=True)
class Labels(Reading):
    """A yes or no of every label: one logit each."""

    names: tuple[str, ...]

    def columns(self, outputs: Outputs) -> dict[str, np.ndarray]:
        found = {}
        for at, name in enumerate(self.names):
            found[f"logit:{name}"] = outputs[:, at]
            found[f"probability:{name}"] = 1 / (1 + np.exp(-outputs[:, at]))
        return found

    def cells(self, outputs: Outputs, thresholds: Thresholds) -> dict[str, list[Any]]:
        probability = 1 / (1 + np.exp(-outputs))
        found: dict[str, list[Any]] = {}
        for at, name in enumerate(self.names):
            threshold, of = thresholds.get(name), probability[:, at]
            found[name] = of.tolist()
            called = [None] * len(of) if threshold is None else (of >= threshold).tolist()
            found[f"{name} called"] = called
        return found


@dataclass(frozen=True)
class OneOf(Reading):
    """One class of several that exclude each other: softmax over a logit each."""

    names: tuple[str, ...]

    def columns(self, outputs: Outputs) -> dict[str, np.ndarray]:
        """The logit of a class is its log-odds against all others, which ranks as it does."""
        probability, logs = softmax(outputs, axis=1), log_softmax(outputs, axis=1)
        found: dict[str, np.ndarray] = {"called": np.array(self.names)[outputs.argmax(axis=1)]}
        for at, name in enumerate(self.names):
            others = logsumexp(np.delete(logs, at, axis=1), axis=1)
            found[f"logit:{name}"] = logs[:, at] - others
            found[f"probability:{name}"] = probability[:, at]
        return found

    def cells(self, outputs: Outputs, thresholds: Thresholds) -> dict[str, list[Any]]:
        probability = softmax(outputs, axis=1)
        called = [self.names[at] for at in outputs.argmax(axis=1)]
        of = {name: probability[:, at].tolist() for at, name in enumerate(self.names)}
        return {"called": called, **of}


@dataclass(frozen=True)
class Levels(Reading):
    """A class of a rising scale: a logit for "above" each class but the highest.

    What is called is the median class: the first that it is not likelier than not to lie above.
    """

    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"above {name}" for name in self.classes[:-1])

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        return cls(tuple(str(name) for name in facts["classes"]))

    def facts(self) -> dict[str, Any]:
        return {"classes": list(self.classes), **super().facts()}

    def probability(self, outputs: Outputs) -> Float[np.ndarray, "pictures classes"]:
        """Of each class: differences of P(above k), which falls with k."""
        above = np.minimum.accumulate(expit(outputs), axis=1)
        ends = np.ones((len(outputs), 1)), np.zeros((len(outputs), 1))
        return -np.diff(np.concatenate([ends[0], above, ends[1]], axis=1), axis=1)

    def level(self, outputs: Outputs) -> Int[np.ndarray, "pictures"]:
        return (np.minimum.accumulate(outputs, axis=1) > 0).sum(axis=1)

    def columns(self, outputs: Outputs) -> dict[str, np.ndarray]:
        probability = self.probability(outputs)
        found: dict[str, np.ndarray] = {"called": np.array(self.classes)[self.level(outputs)]}
        for at, name in enumerate(self.names):
            found[f"logit:{name}"] = outputs[:, at]
        for at, name in enumerate(self.classes):
            found[f"probability:{name}"] = probability[:, at]
        return found

    def cells(self, outputs: Outputs, thresholds: Thresholds) -> dict[str, list[Any]]:
        probability = self.probability(outputs)
        called = [self.classes[at] for at in self.level(outputs)]
        of = {name: probability[:, at].tolist() for at, name in enumerate(self.classes)}
        return {"called": called, **of}


@dataclass(frozen=True)
class Value(Reading):
    """A number: the output in deviations from the training records' mean."""

    target: str
    mean: float
    std: float

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.target,)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        return cls(str(facts["target"]), float(facts["mean"]), float(facts["std"]))

    def facts(self) -> dict[str, Any]:
        told = {"target": self.target, "mean": self.mean, "std": self.std}
        return told | super().facts()

    def columns(self, outputs: Outputs) -> dict[str, np.ndarray]:
        return {"predicted": self.mean + self.std * outputs[:, 0]}

    def cells(self, outputs: Outputs, thresholds: Thresholds) -> dict[str, list[Any]]:
        return {self.target: self.columns(outputs)["predicted"].tolist()}


READINGS: dict[str, type[Reading]] = {
    "multi-label": Labels,
    "single-label": OneOf,
    "ordinal": Levels,
    "continuous": Value,
}
