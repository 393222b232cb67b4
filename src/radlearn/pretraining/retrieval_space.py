"""A space where an image and its report point the same way, learnt from training pairs at once.

MRM has no such space. Here both sides are frozen: mean patch tokens of an image, and the words
of a report (TF-IDF of its pieces and of neighbouring ones, reduced by a truncated SVD). Between
them stands a canonical correlation analysis (Hotelling 1936) with ridge on both sides (Vinod 1976),
whose axes on the images' side count by their correlation: closed form, one minimum, no seed. The
strength of the ridge is chosen by patients left out of the training pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer

from radlearn.errors import InputError
from radlearn.metrics.retrieval import first_right
from radlearn.metrics.statistics import patient_rows

TOPICS = 64
"""Dimensions that reports are reduced to."""
RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""To choose from for the images' side, in units of a standardised feature's variance."""
REPORT_RIDGE = 1.0
"""Of the reports' side, in units of a topic's mean variance."""
FOLDS = 4
MOST_HELD = 2000
"""Most pairs of a fold that are ranked against each other."""
LEAST_PAIRS = 20

Vectors = Float[np.ndarray, "items _"]


@dataclass(frozen=True)
class Words:
    """Reports as vectors of topics."""

    tokenizer: Tokenizer
    counts: TfidfVectorizer
    topics: TruncatedSVD

    @classmethod
    def of(cls, reports: Sequence[str], tokenizer: Tokenizer) -> "Words":
        """Learn which words there are, and how they go together."""
        counts = TfidfVectorizer(
            analyzer=_as_given, sublinear_tf=True, min_df=2, max_features=20_000
        )
        try:
            table = counts.fit_transform(_pieces(reports, tokenizer))
        except ValueError as error:
            raise InputError(
                "the training reports share no words to learn from; give more pairs with --pairs"
            ) from error
        width = max(min(TOPICS, min(table.shape) - 1), 1)
        return cls(tokenizer, counts, TruncatedSVD(width, random_state=0).fit(table))

    def __call__(self, reports: Sequence[str]) -> Vectors:
        return self.topics.transform(self.counts.transform(_pieces(reports, self.tokenizer)))

    def known(self, report: str) -> bool:
        """Whether a training report has any of its words."""
        return self.counts.transform(_pieces([report], self.tokenizer)).nnz > 0


class Bridge(NamedTuple):
    """From both sides to where they meet."""

    image_mean: Float[np.ndarray, " features"]
    report_mean: Float[np.ndarray, " topics"]
    of_images: Float[np.ndarray, "features width"]
    of_reports: Float[np.ndarray, "topics width"]

    def images(self, features: Vectors) -> Vectors:
        """Unit vectors."""
        return _unit((features - self.image_mean) @ self.of_images)

    def reports(self, topics: Vectors) -> Vectors:
        """Unit vectors."""
        return _unit((topics - self.report_mean) @ self.of_reports)


@dataclass(frozen=True)
class Space:
    """Where images and reports meet.

    Attributes:
        ridge: of the images' side, as chosen.
        pairs: how many it was learnt from.
    """

    words: Words
    bridge: Bridge
    ridge: float
    pairs: int

    def scores(
        self, features: Float[np.ndarray, "images features"], reports: Sequence[str]
    ) -> Float[np.ndarray, "images reports"]:
        """Cosines of images and reports."""
        return self.bridge.images(features) @ self.bridge.reports(self.words(reports)).T


def learn_space(
    features: Vectors, reports: Sequence[str], patients: Sequence[str], tokenizer: Tokenizer
) -> Space:
    """Learn the space of training pairs.

    Args:
        features: of `Reader.features`, an image a row.
        reports: of the same records.
        patients: theirs; no patient is on both sides where the ridge is chosen.

    Raises:
        InputError: there are too few pairs, or their reports share no words.
    """
    if len(reports) < LEAST_PAIRS:
        raise InputError(
            f"{len(reports)} training pairs of image and report are too few to learn a space from; "
            "give stores with more by --pairs, or --score likelihood"
        )
    if len(set(reports)) == 1:
        raise InputError("the training reports all say the same; give more pairs with --pairs")
    words = Words.of(reports, tokenizer)
    topics, features = words(reports), features.astype(np.float64)
    ridge = _chosen(features, topics, reports, patients)
    bridge = _bridge(_Side.of(features), _Side.of(topics, scaled=False), ridge)
    return Space(words, bridge, ridge, len(reports))


def _chosen(
    features: Vectors, topics: Vectors, reports: Sequence[str], patients: Sequence[str]
) -> float:
    """The ridge with the best mean reciprocal rank, both ways, over patients left out."""
    patient, text = patient_rows(patients), patient_rows(reports)
    fold = (np.random.default_rng(0).permutation(patient.max() + 1) % FOLDS)[patient]
    gained = dict.fromkeys(RIDGES, 0.0)
    for out in range(FOLDS):
        kept, held = np.flatnonzero(fold != out), np.flatnonzero(fold == out)[:MOST_HELD]
        if not len(held) or len(kept) < 2:
            continue
        right = text[held, None] == text[held]
        sides = _Side.of(features[kept]), _Side.of(topics[kept], scaled=False)
        for ridge in RIDGES:
            bridge = _bridge(*sides, ridge)
            scores = bridge.images(features[held]) @ bridge.reports(topics[held]).T
            for one in (scores, scores.T):
                gained[ridge] += float((1 / first_right(one, right)).sum())
    return max(gained, key=gained.__getitem__)


class _Side(NamedTuple):
    """One side's principal axes: `values` are variances along the columns of `axes`.

    Attributes:
        plain: the items along the axes, each axis with its own variance.
    """

    mean: Float[np.ndarray, " width"]
    axes: Float[np.ndarray, "width rank"]
    values: Float[np.ndarray, " rank"]
    plain: Float[np.ndarray, "items rank"]

    @classmethod
    def of(cls, items: Vectors, scaled: bool = True) -> "_Side":
        """
        Args:
            scaled: to variance 1 in each coordinate before all else.
        """
        mean = items.mean(axis=0)
        deviation = items.std(axis=0) + 1e-12 if scaled else np.ones(items.shape[1])
        x = (items - mean) / deviation
        few = len(x) < x.shape[1]  # the smaller of the two products has the same eigenvalues
        values, axes = np.linalg.eigh((x @ x.T if few else x.T @ x) / len(x))
        kept = values > 1e-10 * max(values[-1], 1e-12)
        values, axes = values[kept], axes[:, kept]
        if few:
            axes = x.T @ axes / np.sqrt(values * len(x))
        return cls(mean, axes / deviation[:, None], values, x @ axes)


def _bridge(images: _Side, reports: _Side, ridge: float) -> Bridge:
    """Canonical axes by the singular values of the whitened cross-covariance."""
    of_images = 1 / np.sqrt(images.values + ridge)
    of_reports = 1 / np.sqrt(reports.values + REPORT_RIDGE * reports.values.mean())
    cross = images.plain.T @ reports.plain / len(images.plain)
    left, correlations, right = np.linalg.svd(
        of_images[:, None] * cross * of_reports, full_matrices=False
    )
    return Bridge(
        images.mean,
        reports.mean,
        (images.axes * of_images) @ (left * correlations),
        (reports.axes * of_reports) @ right.T,
    )


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _pieces(reports: Sequence[str], tokenizer: Tokenizer) -> Iterator[list[str]]:
    """The pieces of each report, and each two that follow each other."""
    for report in reports:
        pieces = tokenizer.encode(report, add_special_tokens=False).tokens
        yield pieces + [" ".join(two) for two in pairwise(pieces)]


def _as_given(pieces: list[str]) -> list[str]:
    return pieces
