"""How sure a score of slices is: patients, blocks of neighbouring slices and seeds, drawn again.

Slices of one patient are not independent: neighbours show nearly the same anatomy. With enough
patients the patient is what is drawn. With fewer the patients stay as they are, and inside each
the blocks of neighbouring slices are drawn (the circular block bootstrap of Politis and Romano
1992); such an interval says nothing of other patients. Seeds of training are drawn in both cases.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from radlearn.errors import InputError
from radlearn.metrics.statistics import bootstrap_p, finite, percentile_interval

ENOUGH_PATIENTS = 8
"""From so many on, patients are drawn."""

BySlice = Float[np.ndarray, "_"]  # lengths differ between patients
BySeed = Float[np.ndarray, "_ _"]  # seeds, slices
ByPatient = Mapping[str, BySeed]


def score_over(
    scores: ByPatient,
    resamples: int = 2000,
    seed: int = 0,
    folds: Mapping[str, Hashable] | None = None,
) -> dict[str, Any]:
    """The score of a run, or of runs that differ in their seed alone, with 95 % intervals.

    A patient's score is the mean over its slices and the seeds; the score is the mean over the
    patients.

    Args:
        scores: for each patient one row a seed and one column a slice, in the slices' order.
        resamples: how many.
        seed: of the resamples.
        folds: which patients were scored by the same runs, where not all were: in a leave-one-out
            experiment each patient is a fold. The seeds of different folds are drawn apart.

    Returns:
        "unit" drawn, "patients" or "blocks"; "block", its length in slices; "seeds", a list of
        one count; "resamples"; "overall", an interval; "patients", an interval each (always over
        blocks), with "slices".

    Raises:
        InputError: no patient or slice, a value that is not finite, or patients of one fold with
            other numbers of seeds.
    """
    return _found([scores], resamples, seed, folds)


def difference_over(
    seeds_of_a: ByPatient,
    seeds_of_b: ByPatient,
    resamples: int = 2000,
    seed: int = 0,
    folds: Mapping[str, Hashable] | None = None,
) -> dict[str, Any]:
    """The score of b less that of a, paired by slice, over seeds and blocks (or patients) at once.

    A resample draws the seeds of a and of b, each on its own, and the same slices for both. Of S
    seeds, as of S blocks, S - 1 are drawn: S draws have (S - 1) / S of the variance (McCarthy and
    Snowden 1985), which for two is half. A single seed stays as it is.

    Args:
        seeds_of_a, seeds_of_b: for each patient one row a seed and one column a slice. Both have
            the same patients and slices, in the same order; the numbers of seeds may differ.
        resamples, seed, folds: as in `score_over`.

    Returns:
        As `score_over`, with two counts of "seeds"; the intervals are of the difference, with
        "first" and "second" (the scores of a and b) and "p", two-sided (see `bootstrap_p`). The
        block's length is that of the differences.

    Raises:
        InputError: other patients or slices in a and b; else as `score_over`.
    """
    if seeds_of_a.keys() != seeds_of_b.keys():
        alone = sorted(seeds_of_a.keys() ^ seeds_of_b.keys())
        raise InputError(f"patient {alone[0]} was scored on one side alone; score the same on both")
    for patient, a in seeds_of_a.items():
        if a.shape[1] != seeds_of_b[patient].shape[1]:
            raise InputError(
                f"patient {patient} has {a.shape[1]} slices on one side and "
                f"{seeds_of_b[patient].shape[1]} on the other; score the same slices"
            )
    return _found([seeds_of_a, seeds_of_b], resamples, seed, folds)


def describe(*found: Mapping[str, Any]) -> str:
    """What was drawn for intervals, and what they leave out, in a sentence.

    Args:
        found: what `score_over` or `difference_over` returned for scores of the same slices; at
            least one.
    """
    one, blocks = found[0], sorted({each["block"] for each in found})
    patients, seeds = len(one["patients"]), one["seeds"]
    many = f"{one['resamples']:,} resamples"
    left_out = []
    if one["unit"] == "patients":
        text = f"95 % intervals: {many} of the {patients} patients"
    else:
        length = f"{blocks[0]}" + (f" to {blocks[-1]}" if len(blocks) > 1 else "")
        whose = f"each of the {patients} patients" if patients > 1 else "the one patient"
        text = f"95 % intervals: {many} of blocks of {length} neighbouring slices "
        text += f"(at most a third of a patient's) inside {whose}"
        left_out.append("other patients")
    if max(seeds) > 1:
        text += f", and of the seeds ({' and '.join(map(str, seeds))})"
    if min(seeds) == 1:
        left_out.append("other seeds")
    return text + (f"; they do not cover {' or '.join(left_out)}." if left_out else ".")


def block_length(series: Sequence[BySlice]) -> int:
    """How many neighbouring slices make a block, by their autocorrelation.

    In each patient twice what the rule of Politis and White (2004, corrected 2009) gives for the
    circular bootstrap (twice, since intervals of short series are too narrow at the rule's own
    length: docs/decisions/007-blocks-of-slices.md), at least the cube root of its number of slices
    n, at most n / 3; then the mean over patients, rounded up.
    """
    return math.ceil(np.mean([_suited(values) for values in series]) - 1e-9)


def _suited(values: BySlice) -> float:
    n = len(values)
    most = math.ceil(n / 3)
    return min(max(2 * _politis_white(values), n ** (1 / 3)), most)


def _politis_white(values: BySlice) -> float:
    """The length of blocks with which the variance of a mean is estimated best."""
    n = len(values)
    centred = values - values.mean()
    if np.square(centred).sum() <= 1e-24 * np.square(values).sum():
        return 0.0
    covariance = np.correlate(centred, centred, "full")[n - 1 :] / n
    quiet = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    highest = math.ceil(math.sqrt(n)) + run
    silent = (m for m in range(1, min(highest, n)) if quiet[m : m + run].all())
    last = min(2 * max(next(silent, highest) - 1, 1), n - 1)
    lags = np.arange(1, last + 1)
    weighted = 2 * np.clip(2 * (1 - lags / last), 0, 1) * covariance[1 : last + 1]
    spectrum, slope = covariance[0] + weighted.sum(), (lags * weighted).sum()
    if spectrum <= 0:
        return float(n)
    return min((1.5 * slope**2 / spectrum**2 * n) ** (1 / 3), 3 * math.sqrt(n))


class _Drawn(NamedTuple):
    """A group of runs: its scores, and the same on the resamples."""

    overall: float
    resampled: Float[np.ndarray, "resamples"]
    patients: dict[str, float]
    patients_resampled: dict[str, Float[np.ndarray, "resamples"]]


def _found(
    groups: Sequence[ByPatient], resamples: int, seed: int, folds: Mapping[str, Hashable] | None
) -> dict[str, Any]:
    """Scores of one group, or second less first of two."""
    names = sorted(groups[0])
    folds = folds or dict.fromkeys(names)
    _check(groups, names, resamples, folds)
    series = [_difference([group[name].mean(0) for group in groups]) for name in names]
    block = block_length(series)
    drawn = _draw(groups, names, folds, block, resamples, seed)

    def told(values: Sequence[float], spread: Sequence[np.ndarray]) -> dict[str, Any]:
        away = _difference(spread)
        interval = percentile_interval(float(_difference(np.array(values))), away).as_json()
        if len(groups) == 1:
            return interval
        first, second = map(float, values)
        return {"first": first, "second": second} | interval | {"p": finite(bootstrap_p(away))}

    return {
        "unit": _unit(len(names)),
        "block": block,
        "seeds": [max(len(group[name]) for name in names) for group in groups],
        "resamples": resamples,
        "overall": told([d.overall for d in drawn], [d.resampled for d in drawn]),
        "patients": {
            name: {"slices": groups[0][name].shape[1]}
            | told([d.patients[name] for d in drawn], [d.patients_resampled[name] for d in drawn])
            for name in names
        },
    }


def _difference(of_groups: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Second less first; of a single group itself."""
    return of_groups[-1] - of_groups[0] if len(of_groups) > 1 else of_groups[0]


def _unit(patients: int) -> str:
    return "patients" if patients >= ENOUGH_PATIENTS else "blocks"


def _check(
    groups: Sequence[ByPatient],
    names: Sequence[str],
    resamples: int,
    folds: Mapping[str, Hashable],
) -> None:
    if not names or resamples < 1:
        raise InputError(
            f"an interval needs patients and resamples; there are {len(names)} patients and "
            f"{resamples} resamples: ask for at least 1 of each"
        )
    for group in groups:
        seeds: dict[Hashable, int] = {}
        for name in names:
            if not group[name].size or not np.isfinite(group[name]).all():
                raise InputError(
                    f"patient {name} has no slice, or one whose score is not finite; leave out "
                    "what cannot be scored"
                )
            if seeds.setdefault(folds[name], len(group[name])) != len(group[name]):
                raise InputError(
                    f"patient {name} was scored by {len(group[name])} seeds and others of its fold "
                    f"by {seeds[folds[name]]}; score all by the same runs"
                )


def _draw(
    groups: Sequence[ByPatient],
    names: Sequence[str],
    folds: Mapping[str, Hashable],
    block: int,
    resamples: int,
    seed: int,
) -> list[_Drawn]:
    """Each group on the same slices, or patients, of each resample and on seeds of its own."""
    rng = np.random.default_rng(seed)
    starts = {}
    for name in names:
        n = groups[0][name].shape[1]
        length = min(block, math.ceil(n / 3))
        draws = max(round(n / length) - 1, 1)
        starts[name] = length, rng.integers(0, n, (resamples, draws))
    of_patient = np.full((resamples, len(names)), 1 / len(names))
    whole = _unit(len(names)) == "patients"
    if whole:
        of_patient = _shares(len(names), len(names), resamples, rng)
    drawn = []
    for group in groups:
        of_seed = {
            fold: _shares(count, max(count - 1, 1), resamples, rng)
            for fold, count in {folds[name]: len(group[name]) for name in names}.items()
        }
        inside = {}
        everything = np.empty((resamples, len(names)))
        for at, name in enumerate(names):
            seeds = of_seed[folds[name]]
            by_seed = _resampled_means(group[name], *starts[name])
            inside[name] = np.einsum("rs,rs->r", seeds, by_seed)
            everything[:, at] = seeds @ group[name].mean(1) if whole else inside[name]
        means = {name: float(group[name].mean()) for name in names}
        overall = float(np.mean(list(means.values())))
        drawn.append(_Drawn(overall, (of_patient * everything).sum(1), means, inside))
    return drawn


def _shares(
    things: int, draws: int, resamples: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamples things"]:
    """Which share of each resample each thing has, drawn with replacement."""
    return rng.multinomial(draws, np.full(things, 1 / things), size=resamples) / draws


def _resampled_means(
    scores: BySeed, length: int, starts: np.ndarray
) -> Float[np.ndarray, "resamples _"]:
    """Means over the blocks that begin at `starts` and go round the end."""
    n = scores.shape[1]
    total = np.cumsum(np.pad(np.concatenate([scores, scores[:, :length]], 1), ((0, 0), (1, 0))), 1)
    blocks = (total[:, length : length + n] - total[:, :n]) / length
    return blocks[:, starts].mean(2).T
