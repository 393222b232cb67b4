"""Scores of images and reports for each other, by the space learnt or by the model's likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from radlearn.pretraining.retrieval_likelihood import Pairs, information
from radlearn.pretraining.retrieval_reader import Reader
from radlearn.pretraining.retrieval_space import Space, learn_space
from radlearn.records.store import Selection

Score = Literal["space", "likelihood"]
MOST_PAIRS = 20_000
"""Training pairs that a space is learnt from at most: more do not change so few numbers."""


@dataclass(frozen=True)
class Scorer:
    """Scores any images with any reports: higher means more likely of one record.

    Attributes:
        space: None where the likelihood of all pairs is asked for.
        average: the mean summary z of the training images; None where likelihood is not asked for.
        nearest: how many of each query's best by the space are put in order by likelihood; 0 for
            all there are.
    """

    reader: Reader
    space: Space | None
    average: Float[Tensor, " z"] | None
    nearest: int = 0

    def __call__(
        self, features: Float[Tensor, "images features"], reports: Sequence[str]
    ) -> Float[np.ndarray, "images reports"]:
        """A row an image, a column a report."""
        by_space = None
        if self.space is not None:
            by_space = self.space.scores(features.numpy().astype(np.float64), reports)
        if self.average is None:
            assert by_space is not None
            return by_space
        shape = (len(features), len(reports))
        chosen = np.ones(shape, bool) if by_space is None else nearest_pairs(by_space, self.nearest)
        pairs: Pairs = np.argwhere(chosen)
        z = self.reader.summaries(features)
        told = information(self.reader, self.reader.tokens(reports), z, pairs, self.average)
        scores = np.full(shape, -np.inf) if by_space is None else by_space - BELOW
        scores[chosen] = told
        return scores


BELOW = 1e6
"""What places a pair that only the space has scored behind all whose likelihood is known."""


def make_scorer(
    reader: Reader, pairs: Selection, score: Score, nearest: int, batch: int = 64
) -> Scorer:
    """Learn from training pairs what the score needs.

    Args:
        pairs: training records with image and report.
        nearest: see `Scorer`; 0 for the likelihood of all pairs.

    Raises:
        InputError: there are too few pairs to learn a space from.
    """
    pairs = pairs.take(np.arange(min(len(pairs), MOST_PAIRS)))
    features = reader.features(pairs.image, len(pairs), batch)
    space = None
    if score == "space" or nearest:
        reports = [pairs.report(position) or "" for position in range(len(pairs))]
        space = learn_space(features.numpy(), reports, pairs.patients, reader.tokenizer)
    average = reader.summaries(features.mean(0, keepdim=True))[0] if score != "space" else None
    return Scorer(reader, space, average, nearest)


def nearest_pairs(scores: Float[np.ndarray, "images reports"], count: int) -> np.ndarray:
    """Pairs that are among the best `count` of the image or of the report."""
    chosen = np.zeros(scores.shape, bool)
    for axis in (0, 1):
        best = np.argsort(-scores, axis=axis, kind="stable").take(
            np.arange(min(count, scores.shape[axis])), axis=axis
        )
        np.put_along_axis(chosen, best, True, axis=axis)
    return chosen
