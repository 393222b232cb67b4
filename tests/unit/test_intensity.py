"""Windows of volumes: background -1, robust against noise, ringing and outliers; and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mri_pairs import head
from radlearn.errors import UnreadableError
from radlearn.records.intensity import Window, scaled, stored, unscaled, window_of
from radlearn.records.pair_store import clipped


def test_ringing_below_a_stripped_skull_is_background() -> None:
    values = head()
    rng = np.random.default_rng(0)
    ringing = (rng.random(values.shape) < 0.2) & (values == 0)
    values[ringing] = -rng.uniform(1, 60, int(ringing.sum())).astype(np.float32)
    window = window_of(values)
    assert window.low == 0
    shown = clipped(scaled(values, window))
    assert (shown[values <= 0] == -1).all()
    assert (shown[values > 0] > -1).all()


def test_one_bright_voxel_changes_nothing() -> None:
    values = head()
    before = window_of(values)
    values[12, 12, 12] = 1e6
    assert window_of(values).high == pytest.approx(before.high, rel=0.01)


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_noise_in_the_air_does_not_move_the_window(sigma: float) -> None:
    """Magnitude noise: nearly all of the air ends at -1, and tissue keeps its scale."""
    rng = np.random.default_rng(1)
    clean = head(shape=(40, 40, 40))
    noisy = np.hypot(
        clean + rng.normal(0, sigma, clean.shape), rng.normal(0, sigma, clean.shape)
    ).astype(np.float32)
    window, real = window_of(noisy), window_of(clean)
    assert 0 < window.low < 6 * sigma
    assert window.high == pytest.approx(real.high, rel=0.05)
    air = scaled(noisy, window)[clean == 0]
    assert (air <= -1).mean() > 0.85
    assert air.max() < -0.85


def test_a_volume_without_air_keeps_its_darkest_tissue() -> None:
    values = np.random.default_rng(0).normal(500, 50, (20, 20, 20)).astype(np.float32)
    window = window_of(values)
    assert np.percentile(values, 0.1) < window.low < np.percentile(values, 5)


def test_hounsfield_units_start_at_air() -> None:
    values = np.random.default_rng(0).normal(-1000, 10, (20, 20, 20)).astype(np.float32)
    values[5:15, 5:15, 5:15] = 40 + values[5:15, 5:15, 5:15] * 0.01
    window = window_of(values)
    assert -1000 < window.low < -900
    assert window.high == pytest.approx(30, abs=10)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4, 4), np.nan, np.float32), "NaN everywhere"),
        (np.full((4, 4, 4), 3, np.float32), "constant image: every value is 3"),
    ],
)
def test_what_has_no_window_says_why(values: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        window_of(values)


@given(
    low=st.floats(-1e4, 1e4),
    width=st.floats(1e-2, 1e5),
    shares=st.lists(st.floats(-1, 3), min_size=1, max_size=20),
)
def test_scaling_turns_back_within_a_thousandth(
    low: float, width: float, shares: list[float]
) -> None:
    window = Window(low, low + width)
    values = (low + width * np.array(shares)).astype(np.float32)
    back = unscaled(stored(scaled(values, window)), window)
    slack = 2e-3 * width + 2e-7 * abs(low)
    np.testing.assert_allclose(back, values, atol=slack)
    assert scaled(np.array([np.float64(low)]), window)[0] == -1


@given(st.integers(0, 2**32 - 1), st.sampled_from(["int", "ties", "binary", "wide"]), st.booleans())
def test_any_volume_of_two_values_has_a_window(seed: int, kind: str, holes: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 7, 3))
    values = {
        "int": lambda: rng.integers(-5, 5, shape),
        "ties": lambda: rng.choice([0, 1e-3, 1e6], shape),
        "binary": lambda: rng.integers(0, 2, shape) * 1e-6,
        "wide": lambda: rng.normal(0, 1, shape) * 10.0 ** rng.integers(-20, 20),
    }[kind]().astype(np.float32)
    if holes:
        values[rng.random(shape) < 0.3] = np.nan
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() == finite.max():
        with pytest.raises(UnreadableError):
            window_of(values)
        return
    window = window_of(values)
    assert finite.min() <= window.low < window.high <= finite.max()
