"""Laws that hold for whatever is drawn: readers give back what was written, scores are the
reference's, what can be undone is undone.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import Nifti1Image
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import f1_score, jaccard_score

from radlearn.metrics.segmentation import hausdorff95, mask_score, mean_dice, pixel_counts
from radlearn.metrics.translation import BACKGROUND, paper_scores, standard_scores
from radlearn.records.intensity import Window, scaled, unscaled
from radlearn.records.masks import read_mask
from radlearn.records.readers import read_pixels
from radlearn.records.record import NOT_ANNOTATED, RunLengths
from radlearn.records.volume import read_volume
from unit.made_dicom import made

few = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


def drawn(seed: int, height: int, width: int, levels: int, dtype: type) -> np.ndarray:
    """A picture that uses the whole range, with ties."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (height, width)) * (np.iinfo(dtype).max // (levels - 1))
    values.flat[0], values.flat[-1] = 0, np.iinfo(dtype).max
    return values.astype(dtype)


# readers


@few
@given(SEEDS, SIDES, st.integers(2, 40), st.integers(2, 256), st.sampled_from(["png", "tif"]))
def test_a_picture_is_read_as_it_was_written(
    folder: Path, seed: int, height: int, width: int, levels: int, ending: str
) -> None:
    for dtype in (np.uint8, np.uint16):
        values = drawn(seed, height, width, levels, dtype)
        Image.fromarray(values).save(folder / f"a.{ending}")
        read = read_pixels(folder / f"a.{ending}").values
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, values)


@few
@given(
    SEEDS, SIDES, st.integers(2, 40), st.integers(2, 256),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]),
)  # fmt: skip
def test_a_radiograph_is_read_as_it_was_written_and_its_complement_alike(
    folder: Path, seed: int, height: int, width: int, levels: int, syntax: str
) -> None:
    values = drawn(seed, height, width, levels, np.uint8)
    one = made(folder / "a.dcm", values, syntax=syntax)
    turned = {"PhotometricInterpretation": "MONOCHROME1", "syntax": syntax}
    other = made(folder / "b.dcm", 255 - values, **turned)
    np.testing.assert_array_equal(read_pixels(one).values, values)
    np.testing.assert_array_equal(read_pixels(other).values, values)


@few
@given(SEEDS, st.tuples(SIDES, SIDES, st.integers(2, 9)), st.sampled_from(["i2", "u1", "f4"]))
def test_a_volume_is_read_as_it_was_written(
    folder: Path, seed: int, shape: tuple[int, int, int], kind: str
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 200, shape).astype(kind)
    affine = np.diag([*rng.uniform(0.5, 3, 3), 1.0])
    affine[:3, 3] = rng.uniform(-99, 99, 3)
    Nifti1Image(values, affine).to_filename(folder / "a.nii.gz")
    read = read_volume(folder / "a.nii.gz")
    np.testing.assert_array_equal(read.values, values)
    np.testing.assert_allclose(read.affine, affine, atol=1e-4)


@few
@given(SEEDS, st.integers(1, 30), st.integers(1, 30))
def test_run_lengths_are_the_mask_that_they_were_made_of(
    folder: Path, seed: int, height: int, width: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.4
    flat = np.flatnonzero(np.diff(np.pad(mask.T.ravel().astype(int), 1)))
    starts, ends = flat[::2], flat[1::2]
    gaps = starts - np.concatenate([[0], ends[:-1]]) if len(starts) else starts
    text = " ".join(f"{gap} {length}" for gap, length in zip(gaps, ends - starts, strict=True))
    source = RunLengths((text,) if text else (), height, width)
    np.testing.assert_array_equal(read_mask(source), mask)


# what can be undone


@few
@given(SEEDS, st.floats(-2000, 2000), st.floats(1e-3, 5000))
def test_a_window_is_undone(seed: int, low: float, width: float) -> None:
    window = Window(low, low + width)
    values = np.random.default_rng(seed).uniform(low - width, low + 3 * width, 50)
    values = values.astype(np.float32)
    back = unscaled(scaled(values, window), window)
    np.testing.assert_allclose(back, values, atol=1e-5 * max(abs(low), width) + 1e-6)


# scores of translations

PAIRS = st.tuples(SEEDS, st.integers(11, 24), st.integers(11, 24), st.integers(2, 9))


def pair(case: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures with many ties, a part of the real one background."""
    seed, height, width, levels = case
    rng = np.random.default_rng(seed)
    made, real = rng.integers(0, levels, (2, 1, height, width)) / (levels - 1) * 2 - 1
    real[rng.random(real.shape) < rng.choice([0, 0.3, 1], p=[0.4, 0.4, 0.2])] = BACKGROUND
    return (real.copy() if seed % 5 == 0 else made), real


@few
@given(PAIRS)
def test_scores_of_translations_are_scikit_images(case: tuple[int, int, int, int]) -> None:
    made, real = pair(case)
    found, papers = standard_scores(made, real), paper_scores(made, real)
    same = np.array_equal(made, real)
    psnr = 100 if same else peak_signal_noise_ratio(real, made, data_range=2)
    assert found["psnr"] == pytest.approx(psnr)
    assert found["nmae"] == pytest.approx(np.abs(made - real).mean() / 2)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(real[0], made[0], data_range=2, **wang)
    assert found["ssim"] == pytest.approx(ssim, abs=1e-9)
    flat = structural_similarity(real[0], made[0], data_range=2, win_size=7)
    assert papers["ssim"] == pytest.approx(flat, abs=1e-9)
    seen = real != BACKGROUND
    if not seen.any():
        assert math.isnan(papers["psnr"]) and math.isnan(papers["nmae"])
        return
    difference = (made - real)[seen]
    assert papers["nmae"] == pytest.approx(np.abs(difference).mean() / 2)
    if difference.any():
        psnr = peak_signal_noise_ratio(real[seen], made[seen], data_range=2)
        assert papers["psnr"] == pytest.approx(psnr)


@few
@given(PAIRS, st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_no_number_is_never_a_good_score(
    case: tuple[int, int, int, int], broken: float
) -> None:
    made, real = pair(case)
    real[..., :2] = 0.5
    made = made.copy()
    made[0, 0, 0] = broken
    for scores in (standard_scores(made, real), paper_scores(made, real)):
        assert not math.isfinite(scores["nmae"]) and not scores["psnr"] > 0
        assert math.isnan(scores["ssim"])


# scores of masks


@few
@given(SEEDS, SIDES, SIDES, st.integers(1, 3), st.sampled_from([0.0, 0.3, 1.0]))
def test_scores_of_masks_are_scikit_learns(
    seed: int, height: int, width: int, classes: int, unknown: float
) -> None:
    rng = np.random.default_rng(seed)
    here = rng.integers(0, classes + 1, 2)  # some classes are nowhere
    truth, drawn_ = (rng.integers(0, 1 + most, (height, width)).astype(np.uint8) for most in here)
    truth[rng.random(truth.shape) < unknown] = NOT_ANNOTATED
    known = truth != NOT_ANNOTATED
    counts = pixel_counts(truth, drawn_, classes)
    for number in range(1, classes + 1):
        right, found = (truth == number)[known], (drawn_ == number)[known]
        score = mask_score(truth, drawn_, number)
        if not right.any() and not found.any():
            assert (score.dice, score.iou) == (1, 1)
        else:
            assert score.dice == pytest.approx(f1_score(right, found, zero_division=0))
            assert score.iou == pytest.approx(jaccard_score(right, found, zero_division=0))
        assert counts[number - 1].tolist() == [(right & found).sum(), right.sum(), found.sum()]
        assert math.isnan(score.hd95) == (not right.any() or not found.any())
    dice = [mask_score(truth, drawn_, number).dice for number in range(1, classes + 1)]
    assert mean_dice(counts[None]) == pytest.approx(np.mean(dice))


@few
@given(SEEDS, st.integers(2, 20), st.integers(2, 20), st.integers(0, 5), st.integers(0, 5))
def test_distances_between_masks_are_symmetric_and_move_with_both(
    seed: int, height: int, width: int, down: int, along: int
) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((2, height, width)) < 0.3
    masks[:, 0, 0] = True
    one, other = np.pad(masks, ((0, 0), (6, 6), (6, 6)))
    found = hausdorff95(one, other)
    assert found == hausdorff95(other, one)
    moved = [np.roll(mask, (down, along), (0, 1)) for mask in (one, other)]
    assert hausdorff95(moved[0], moved[1]) == pytest.approx(found)
    assert hausdorff95(one, one) == 0
