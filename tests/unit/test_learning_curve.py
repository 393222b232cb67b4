"""Learning curves: what is foretold holds as often as it says, and never falls with labels."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from radlearn.metrics.learning_curve import Runs, amounts_of, back_test, fit_curve
from radlearn.metrics.learning_curve_facts import facts_of


def simulated(
    seed: int,
    amounts: Sequence[int] = (50, 200, 1000),
    seeds: int = 3,
    ceiling: float = 0.9,
    drop: float = 1.0,
    power: float = 0.4,
    resamples: int = 150,
    patients: int = 120,
) -> tuple[Runs, Callable[[float], float]]:
    """Runs whose scores are means over patients, with noise of seeds that falls with labels."""
    rng = np.random.default_rng(seed)

    def truth(labels: float) -> float:
        return float(ceiling - drop * labels**-power)

    labels = np.repeat(amounts, seeds)
    of_patient = rng.normal(0, 0.1, patients)
    of_seed = rng.normal(size=len(labels)) * 0.02 * (labels / labels[0]) ** -0.4
    own = rng.normal(0, 0.05, (len(labels), patients))
    scores = np.array([truth(n) for n in labels])[:, None] + of_seed[:, None] + of_patient + own
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), resamples) / patients
    return Runs(labels, scores.mean(axis=1), drawn @ scores.T, (0.0, 1.0)), truth


def test_the_intervals_hold_what_is_true() -> None:
    """Of 100 simulated labs at least 92 find the true score inside, at twice and 5 times."""
    inside = np.zeros(2)
    for seed in range(100):
        runs, truth = simulated(seed)
        fitted = fit_curve(runs, seed)
        for at, labels in enumerate((2000.0, 5000.0)):
            found = fitted.predict(labels)
            inside[at] += found.low <= truth(labels) <= found.high
    assert (inside >= 92).all(), inside


def test_the_intervals_are_not_wide_for_nothing() -> None:
    few, many = (
        fit_curve(simulated(0, seeds=seeds, patients=patients, resamples=300)[0])
        for seeds, patients in ((2, 40), (8, 2000))
    )
    widths = [found.predict(5000).high - found.predict(5000).low for found in (few, many)]
    assert widths[1] < 0.4 * widths[0]
    assert many.predict(5000).value == pytest.approx(0.9 - 5000**-0.4, abs=0.02)


def test_without_noise_the_curve_is_found() -> None:
    labels = np.array([50, 100, 200, 400, 800])
    exact = 0.85 - 0.9 * labels**-0.5
    fitted = fit_curve(Runs(labels, exact, np.tile(exact, (100, 1)), (0.0, 1.0)))
    assert fitted.predict(4000).value == pytest.approx(0.85 - 0.9 * 4000**-0.5, abs=1e-3)


@pytest.mark.parametrize("drop", [-1.0, 0.0, 1.0, 8.0])
def test_more_labels_never_hurt_and_nothing_passes_the_bound(drop: float) -> None:
    runs, _ = simulated(3, drop=drop, ceiling=0.99, power=0.3)
    fitted = fit_curve(runs)
    along = np.geomspace(50, 1e6, 40)
    everything = fitted.resampled.at(along)
    assert (np.diff(everything, axis=1) >= -1e-12).all()
    assert everything.max() <= 1 + 1e-12
    intervals = [fitted.predict(labels) for labels in along]
    assert all(a.high <= b.high and a.low <= b.low for a, b in pairwise(intervals))


def test_seeds_and_patients_both_enter() -> None:
    runs, _ = simulated(1, resamples=400)
    still = runs._replace(resampled=np.tile(runs.score, (400, 1)))
    alike = runs._replace(score=amounts_of(runs).score.repeat(3))
    shift = alike.score - runs.score
    alike = alike._replace(resampled=runs.resampled + shift)

    def width(of: Runs) -> float:
        found = fit_curve(of).predict(2000)
        return found.high - found.low

    assert 0 < width(still) < width(runs)
    assert 0 < width(alike) < width(runs)


def test_the_back_test_knows_when_it_is_right_and_when_not() -> None:
    inside = 0
    for seed in range(30):
        runs, _ = simulated(seed, amounts=(50, 150, 450, 1350))
        found = back_test(runs, seed)
        assert found is not None and found.labels == 1350
        inside += found.error.low <= 0 <= found.error.high
    assert inside >= 27
    runs, _ = simulated(0, amounts=(50, 150, 450, 1350))
    fallen = runs.labels == 1350
    lower = runs._replace(score=runs.score - 0.2 * fallen, resampled=runs.resampled - 0.2 * fallen)
    failed = back_test(lower)
    assert failed is not None and failed.error.low > 0.1
    assert back_test(simulated(0)[0]) is None


def notes_of(runs: Runs) -> str:
    return " ".join(facts_of(runs, fit_curve(runs), back_test(runs), (2, 5), 1)["notes"])


def test_what_cannot_be_known_is_said() -> None:
    steep, _ = simulated(2, amounts=(20, 40, 80), drop=2.0, ceiling=1.3, power=0.35)
    assert "not identified" in notes_of(steep)
    flat, _ = simulated(0, drop=0.0)
    assert "flat" in notes_of(flat)
    rising, _ = simulated(0, seeds=6, amounts=(50, 150, 450, 1350), patients=1000)
    assert notes_of(rising) == ""
    alone, _ = simulated(0, seeds=1)
    assert "no amount has two seeds" in notes_of(alone)


def test_what_scatters_about_the_curve_is_not_taken_for_certain() -> None:
    labels = np.array([50, 100, 200, 400, 800])
    rough = 0.85 - 0.9 * labels**-0.5 + np.array([0.03, -0.03, 0.03, -0.03, 0.03])
    fitted = fit_curve(Runs(labels, rough, np.tile(rough, (300, 1)), (0.0, 1.0)))
    found = fitted.predict(1600)
    assert fitted.misfit > 0.01 and found.high - found.low > 0.02
    falling = np.array([0.9, 0.5, 0.7])
    flat = fit_curve(Runs(labels[:3], falling, np.tile(falling, (300, 1)), (0.0, 1.0)))
    found = flat.predict(400)
    assert flat.misfit > 0.1 and found.high - found.low > 0.2


def test_where_less_is_better_everything_is_turned_round() -> None:
    runs, truth = simulated(0, seeds=6, patients=1000)
    facts = facts_of(runs._replace(bounds=(-np.inf, 1.0)), fit_curve(runs), None, (2,), -1)
    (ahead,) = facts["predictions"]
    assert ahead["score"]["value"] == pytest.approx(-truth(2000), abs=0.02)
    assert ahead["score"]["low"] < ahead["score"]["value"] < ahead["score"]["high"]
    assert ahead["gain"]["value"] < 0
    assert facts["curve"]["a"] - facts["curve"]["b"] == pytest.approx(
        -fit_curve(runs).curve.at([1000])[0, 0]
    )
