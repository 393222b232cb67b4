"""Scores of translations, on images whose scores are known."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from radlearn.errors import InputError
from radlearn.metrics.translation import paper_scores, standard_scores


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.uniform(-0.9, 1, (1, 32, 32)).astype(np.float32)
    real[:, :10] = -1
    made = np.clip(real + rng.normal(0, 0.1, real.shape), -1, 1).astype(np.float32)
    return made, real


def test_the_papers_scores_leave_the_background_out() -> None:
    _, real = images()
    made = np.where(real == -1, 1, real + 0.02).astype(np.float32)
    scores = paper_scores(made, real)
    assert scores["nmae"] == pytest.approx(0.01, rel=1e-5)
    assert scores["psnr"] == pytest.approx(40, rel=1e-5)
    assert standard_scores(made, real)["nmae"] > 0.3
    assert scores["ssim"] < 0.9  # the whole slice, background too


def test_standard_scores_are_scikit_images() -> None:
    made, real = (x[0].astype(float) for x in images())
    scores = standard_scores(made[None], real[None])
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(real, made, data_range=2))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert scores["ssim"] == pytest.approx(
        structural_similarity(real, made, data_range=2, **gaussian)
    )
    assert scores["nmae"] == pytest.approx(np.abs(made - real).mean() / 2)


@pytest.mark.parametrize("score", [paper_scores, standard_scores])
def test_the_same_image_is_perfect_and_finite(score: object) -> None:
    _, real = images()
    assert score(real, real) == {"nmae": 0, "psnr": 100, "ssim": pytest.approx(1)}


def test_a_slice_of_nothing_has_no_foreground_to_score() -> None:
    nothing = np.full((1, 16, 16), -1.0)
    scores = paper_scores(nothing, nothing)
    assert math.isnan(scores["nmae"]) and math.isnan(scores["psnr"])
    assert scores["ssim"] == pytest.approx(1)


def test_volumes_are_scored_in_three_dimensions_and_channels_averaged() -> None:
    rng = np.random.default_rng(1)
    real = rng.uniform(-0.9, 0.9, (2, 12, 13, 14))
    made = real + 0.02 * np.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    expected = np.mean(
        [
            structural_similarity(x, y, win_size=7, data_range=2)
            for x, y in zip(made, real, strict=True)
        ]
    )
    assert paper_scores(made, real)["ssim"] == pytest.approx(expected)
    alone = [standard_scores(made[[c]], real[[c]])["ssim"] for c in range(2)]
    assert standard_scores(made, real)["ssim"] == pytest.approx(np.mean(alone))
    assert alone[0] > alone[1]
    for scores in (paper_scores(made, real), standard_scores(made, real)):
        assert scores["nmae"] == pytest.approx(0.02)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="one grid"):
        paper_scores(np.zeros((1, 16, 16)), np.zeros((1, 16, 17)))
    with pytest.raises(InputError, match="sides of 7 pixels"):
        paper_scores(np.zeros((1, 6, 16)), np.zeros((1, 6, 16)))
    with pytest.raises(InputError, match="sides of 11 pixels"):
        standard_scores(np.zeros((1, 10, 16)), np.zeros((1, 10, 16)))
