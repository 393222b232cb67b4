"""Which rigid and which affine map lays one volume over another of a different contrast.

Mattes' mutual information (IEEE TMI 2003) by SimpleITK, coarse to fine. Everything is done twice:
source onto target on the target's even slices, and target onto source on the source's odd ones.
What mutual information prefers for reasons of its own (it likes to shrink what it moves) has
opposite signs in the two, so that their mean is freed of it and half their difference says how far
either can be trusted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its users know
from jaxtyping import Bool, Float
from scipy import ndimage

from radlearn.errors import InputError

LEVELS = (4, 2, 1)  # voxels of the working grid, isotropic in mm
LEAST_SIDE = 8  # voxels that a coarse level must keep along an axis
POINTS = 10_000  # samples of a fit
BINS = 32
AROUND = 10.0  # mm around the foreground that take part: the outline is a landmark too
BACKGROUND = -1.0

Matrix = Float[np.ndarray, "rows columns"]


class TwoWays(NamedTuple):
    """One map estimated in both directions; homogeneous, centred mm, axes as the arrays'."""

    forward: Matrix
    backward: Matrix  # already inverted: both take the target's places to the source's

    @property
    def mean(self) -> Matrix:
        return (self.forward + self.backward) / 2


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, so that the same pair gives the same bits."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def rigid_and_affine(
    source: Float[np.ndarray, "*space"],
    target: Float[np.ndarray, "*space"],
    foreground: tuple[Bool[np.ndarray, "*space"], Bool[np.ndarray, "*space"]],
    spacing: tuple[float, ...],
    seed: int,
) -> tuple[TwoWays, TwoWays]:
    """The rigid and the affine map from places of `target` to places of `source`.

    Args:
        source, target: one channel on one grid of two or three axes, background -1.
        foreground: of source and target; around both is where they are compared.
        spacing: mm along each axis.
        seed: of the samples.

    Raises:
        InputError: the two cannot be compared, since nothing of them overlaps.
    """
    mask = foreground[0] | foreground[1]
    shift = _centre(foreground[0], spacing) - _centre(foreground[1], spacing)
    ways = []
    for way, (fixed, moving) in enumerate(((target, source), (source, target))):
        start = shift if way == 0 else -shift
        ways.append(_one_way(fixed, moving, mask, spacing, start, seed + way, parity=way))
    (rigid, affine), (rigid_back, affine_back) = ways
    return (
        TwoWays(rigid, np.linalg.inv(rigid_back)),
        TwoWays(affine, np.linalg.inv(affine_back)),
    )


def _centre(
    foreground: Bool[np.ndarray, "*space"], spacing: tuple[float, ...]
) -> Float[np.ndarray, " axes"]:
    return np.array(ndimage.center_of_mass(foreground)) * np.array(spacing)


def _one_way(
    fixed: Float[np.ndarray, "*space"],
    moving: Float[np.ndarray, "*space"],
    mask: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    shift: Float[np.ndarray, " axes"],
    seed: int,
    parity: int,
) -> tuple[Matrix, Matrix]:
    try:
        found = _best_start(fixed, moving, mask, spacing, shift, seed)
        for level in LEVELS[1:]:
            found = _fit(fixed, moving, mask, spacing, level, found, seed, parity)[0]
        affine = sitk.AffineTransform(fixed.ndim)
        affine.SetMatrix(found.GetMatrix())
        affine.SetTranslation(found.GetTranslation())
        bent = _fit(fixed, moving, mask, spacing, LEVELS[-1], affine, seed, parity)[0]
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"the registration found nothing to hold on to: {reason}") from error
    return _matrix(found), _matrix(bent)


def _best_start(
    fixed: Float[np.ndarray, "*space"],
    moving: Float[np.ndarray, "*space"],
    mask: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    shift: Float[np.ndarray, " axes"],
    seed: int,
) -> Any:
    """The coarsest fit from where the pair lies, and from centre on centre; the better one."""
    fits = []
    for by in (np.zeros_like(shift), shift):
        start = sitk.Euler3DTransform() if fixed.ndim == 3 else sitk.Euler2DTransform()
        start.SetTranslation(by[::-1].tolist())
        fits.append(_fit(fixed, moving, mask, spacing, LEVELS[0], start, seed, None))
    return min(fits, key=lambda fit: fit[1])[0]


def _fit(
    fixed: Float[np.ndarray, "*space"],
    moving: Float[np.ndarray, "*space"],
    mask: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    level: int,
    start: sitk.Transform,
    seed: int,
    parity: int | None,
) -> tuple[Any, float]:
    voxel = level * float(np.median(spacing))
    images = [_image(values, spacing, voxel, level > 1) for values in (fixed, moving)]
    near = ndimage.distance_transform_edt(~mask, sampling=spacing) <= AROUND
    where = sitk.GetArrayFromImage(_image(near.astype(np.float32), spacing, voxel, False)) > 0.5
    if parity is not None:
        where[1 - parity :: 2] = False
    samples = sitk.GetImageFromArray(where.astype(np.uint8))
    samples.CopyInformation(images[0])
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, POINTS / max(int(where.sum()), 1)), seed + 1)
    method.SetMetricFixedMask(samples)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=voxel / 2,
        minStep=voxel / 1000,
        numberOfIterations=120,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(type(start)(start), inPlace=True)
    found = method.Execute(*images)
    if isinstance(found, sitk.CompositeTransform):
        found = found.GetNthTransform(0)
    return type(start)(found), method.GetMetricValue()


def _image(
    values: Float[np.ndarray, "*space"], spacing: tuple[float, ...], voxel: float, smooth: bool
) -> sitk.Image:
    """Centred on its own middle, shrunk to about `voxel` mm along every axis."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values, np.float32))
    image.SetSpacing(spacing[::-1])
    sides = zip(image.GetSize(), image.GetSpacing(), strict=True)
    image.SetOrigin([-(count - 1) / 2 * step for count, step in sides])
    factors = [
        max(1, min(round(voxel / step), count // LEAST_SIDE))
        for count, step in zip(image.GetSize(), image.GetSpacing(), strict=True)
    ]
    if max(factors) > 1:
        image = sitk.BinShrink(image, factors)
    return sitk.SmoothingRecursiveGaussian(image, voxel / 2) if smooth else image


def _matrix(transform: Any) -> Matrix:
    """Homogeneous, its axes in the order of the arrays' rather than ITK's."""
    axes = transform.GetDimension()
    centre = np.array(transform.GetCenter())
    turn = np.array(transform.GetMatrix()).reshape(axes, axes)
    shift = np.array(transform.GetTranslation()) + centre - turn @ centre
    matrix = np.eye(axes + 1)
    matrix[:axes, :axes] = turn[::-1, ::-1]
    matrix[:axes, axes] = shift[::-1]
    return matrix
