"""Rare classes: what they weigh in the loss, or how often they are drawn."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

MOST = 100.0
"""The largest weight, so that a handful of records cannot drown all others."""


def positive_weights(truth: Float32[np.ndarray, "examples labels"]) -> tuple[float, ...]:
    """Negatives for each positive of a label; 1 where a label has one class only."""
    positives, negatives = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    ratio = np.where((positives > 0) & (negatives > 0), negatives / np.maximum(positives, 1), 1.0)
    return tuple(float(weight) for weight in np.clip(ratio, 1 / MOST, MOST))


def class_weights(truth: Float32[np.ndarray, "examples 1"], classes: int) -> tuple[float, ...]:
    """The mean number of a class's examples for each one of a class; 1 where it has none."""
    counts = (truth == np.arange(classes)).sum(axis=0)
    ratio = np.where(counts > 0, counts.sum() / (classes * np.maximum(counts, 1)), 1.0)
    return tuple(float(weight) for weight in np.clip(ratio, 1 / MOST, MOST))


def chances(groups: Bool[np.ndarray, "examples groups"]) -> Float64[np.ndarray, "examples"]:
    """Of each example to be drawn: a group first, each alike, then one of its examples.

    An example of several groups has the chances of all of them; one of none is never drawn.
    """
    sizes = groups.sum(axis=0)
    there = groups[:, sizes > 0] / sizes[sizes > 0]
    return there.mean(axis=1)
