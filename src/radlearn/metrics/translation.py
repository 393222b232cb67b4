"""How near a translation is to its target: as RegGAN's paper counts, and as everybody counts.

Images are in [-1, 1], the background exactly -1; slices (C, H, W) or volumes (C, D, H, W).
"""

import math

import numpy as np
from jaxtyping import Float
from skimage.metrics import structural_similarity

from radlearn.errors import InputError

RANGE = 2.0
BACKGROUND = -1.0
MOST_DECIBELS = 100.0
PAPER_WINDOW, GAUSSIAN_WINDOW = 7, 11

Image = Float[np.ndarray, "channels *space"]
Same = Float[np.ndarray, "..."]  # the same shape, which is checked here


def paper_scores(made: Image, real: Same) -> dict[str, float]:
    """NMAE and PSNR where real is not background, SSIM of the whole (Kong et al. 2021).

    Returns:
        "nmae": mean |made - real| / 2, in [0, 1]; "psnr": decibels of values brought to [0, 1], at
        most 100; "ssim": flat windows of side 7. NMAE and PSNR are NaN where all is background.

    Raises:
        InputError: shapes differ, or a side is shorter than 7.
    """
    made, real = _checked(made, real, PAPER_WINDOW)
    difference = (made - real)[real != BACKGROUND]
    ssim = structural_similarity(
        made, real, win_size=PAPER_WINDOW, data_range=RANGE, channel_axis=0
    )
    return _errors(difference) | {"ssim": float(ssim)}


def standard_scores(made: Image, real: Same) -> dict[str, float]:
    """NMAE, PSNR and SSIM over every pixel.

    Returns:
        "nmae" and "psnr" as in `paper_scores`, background too; "ssim" with the Gaussian window of
        Wang et al. (2004): std 1.5, side 11.

    Raises:
        InputError: shapes differ, or a side is shorter than 11.
    """
    made, real = _checked(made, real, GAUSSIAN_WINDOW)
    ssim = structural_similarity(
        made,
        real,
        data_range=RANGE,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return _errors((made - real).ravel()) | {"ssim": float(ssim)}


def _errors(difference: Float[np.ndarray, "pixels"]) -> dict[str, float]:
    if not difference.size:
        return {"nmae": math.nan, "psnr": math.nan}
    error = float(np.square(difference / RANGE).mean())
    # below that the decibels exceed what they are capped at, and 0 has no logarithm
    negligible = error < 10 ** (-MOST_DECIBELS / 10)
    psnr = MOST_DECIBELS if negligible else -10 * math.log10(error)
    return {"nmae": float(np.abs(difference).mean()) / RANGE, "psnr": psnr}


def _checked(made: Image, real: Same, window: int) -> tuple[np.ndarray, np.ndarray]:
    if made.shape != real.shape:
        raise InputError(
            f"a translation of shape {made.shape} cannot be held against a target of shape "
            f"{real.shape}; bring both to one grid"
        )
    if min(real.shape[1:]) < window:
        raise InputError(
            f"structural similarity needs sides of {window} pixels, not {real.shape[1:]}; "
            "score larger images"
        )
    return made.astype(np.float64), real.astype(np.float64)
