"""Whether one run is better than another on the same records."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.classification import mean_over, rankings, unmeasurable
from radlearn.metrics.predictions import Predictions
from radlearn.metrics.statistics import (
    Resamples,
    bootstrap_p,
    delong_p,
    everything_once,
    finite,
    holm,
    percentile_interval,
)


def refuse_unless_same(first: Path, second: Path, a: Predictions, b: Predictions) -> None:
    """Raise `InputError` with the reason unless both were scored on the same records and truth."""
    both = f"runs {first} and {second} cannot be compared"
    if a.ids != b.ids:
        left, right = Counter(a.ids), Counter(b.ids)
        raise InputError(
            f"{both}: {(left - right).total()} records are in the first alone and "
            f"{(right - left).total()} in the second alone; score both on the same split"
        )
    if len(set(a.ids)) != len(a.ids):
        raise InputError(f"{both}: an id stands for more than one record; give records unique ids")
    pairs = set(zip(a.patients, b.patients, strict=True))
    if not len(pairs) == len(set(a.patients)) == len(set(b.patients)):
        raise InputError(
            f"{both}: their stores group the records into different patients; use one store"
        )
    other = ~((a.truth == b.truth) | (np.isnan(a.truth) & np.isnan(b.truth)))
    if other.any():
        row, label = np.argwhere(other)[0]
        raise InputError(
            f"{both}: the truth differs {other.sum()} times, first in {a.labels[label]} of "
            f"{a.ids[row]}; fine-tune both with the same labels and policy for uncertain ones"
        )


class Scored(NamedTuple):
    """A run's predictions with their AUROCs, on the records and on resamples of their patients."""

    predictions: Predictions
    auroc: Float[np.ndarray, "labels"]
    resampled: Float[np.ndarray, "resamples labels"]


def score(predictions: Predictions, resamples: Resamples) -> Scored:
    """Score each label once, so that many runs are compared at the price of one each."""
    once = everything_once(predictions.patients)
    point = rankings(predictions.logit, predictions.truth, once).auroc[0]
    drawn = rankings(predictions.logit, predictions.truth, resamples).auroc
    return Scored(predictions, point, drawn)


def difference(one: Scored, other: Scored) -> dict[str, Any]:
    """The AUROC of `other` less that of `one`, for each label and for the mean over labels.

    Both are scored on the same resamples of patients; a resample without both classes of a label
    is dropped from that label and from the mean. DeLong's test sums over a patient's records
    (see `statistics.delong`). Holm's adjustment is over the labels.

    Args:
        one, other: of the same records, truth, labels (see `refuse_unless_same`) and resamples.
    """
    a, b = one.predictions, other.predictions
    first, second = one.auroc, other.auroc
    drawn = other.resampled - one.resampled
    measured = np.isfinite(first)
    p_bootstrap = [bootstrap_p(drawn[:, at]) for at in range(len(a.labels))]
    p_delong = [float("nan")] * len(a.labels)
    for at in np.flatnonzero(measured):
        known = np.isfinite(a.truth[:, at])
        p_delong[at] = delong_p(
            a.logit[known, at],
            b.logit[known, at],
            a.truth[known, at] == 1,
            [patient for patient, there in zip(a.patients, known, strict=True) if there],
        )
    holm_bootstrap, holm_delong = holm(p_bootstrap), holm(p_delong)
    labels = {
        name: {
            "auroc": [finite(first[at]), finite(second[at])],
            "difference": percentile_interval(second[at] - first[at], drawn[:, at]).as_json(),
            "p_bootstrap": finite(p_bootstrap[at]),
            "p_delong": finite(p_delong[at]),
            "p_bootstrap_holm": finite(holm_bootstrap[at]),
            "p_delong_holm": finite(holm_delong[at]),
            "reason": unmeasurable(a.truth[:, at]),
        }
        for at, name in enumerate(a.labels)
    }
    means = [float(mean_over(scores[None], measured)[0]) for scores in (first, second)]
    mean_drawn = mean_over(drawn, measured)
    return {
        "labels": labels,
        "mean": {
            "labels": [name for name in a.labels if labels[name]["reason"] is None],
            "auroc": [finite(mean) for mean in means],
            "difference": percentile_interval(means[1] - means[0], mean_drawn).as_json(),
            "p_bootstrap": finite(bootstrap_p(mean_drawn)),
        },
    }
