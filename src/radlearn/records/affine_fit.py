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
POINTS = 8_000  # samples of a fit
BINS = 32
AROUND = 10.0  # mm around the foreground that take part: the outline is a landmark too

Matrix = Float[np.ndarray, "rows columns"]


class TwoWays(NamedTuple):
    """One map estimated in both directions; homogeneous, centred mm, axes as the arrays'."""

    forward: Matrix
    backward: Matrix  # already inverted: both take the target's places to the source's

    @property
    def mean(self) -> Matrix:
        return (self.forward + self.backward) / 2


class _Level(NamedTuple):
    """Both images at one level of the pyramid, and where they are compared."""

    images: tuple[sitk.Image, sitk.Image]
    near: sitk.Image
    voxel: float


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
    near = ndimage.distance_transform_edt(~(foreground[0] | foreground[1]), sampling=spacing)
    levels = [_level(source, target, near <= AROUND, spacing, level) for level in LEVELS]
    shift = _centre(foreground[0], spacing) - _centre(foreground[1], spacing)
    try:
        rigid, affine = _one_way(levels, 0, shift, seed)
        rigid_back, affine_back = _one_way(levels, 1, -shift, seed + 1)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"the registration found nothing to hold on to: {reason}") from error
    return (
        TwoWays(rigid, np.linalg.inv(rigid_back)),
        TwoWays(affine, np.linalg.inv(affine_back)),
    )


def _centre(
    foreground: Bool[np.ndarray, "*space"], spacing: tuple[float, ...]
) -> Float[np.ndarray, " axes"]:
    return np.array(ndimage.center_of_mass(foreground)) * np.array(spacing)


def _level(
    source: Float[np.ndarray, "*space"],
    target: Float[np.ndarray, "*space"],
    near: Bool[np.ndarray, "*space"],
    spacing: tuple[float, ...],
    level: int,
) -> _Level:
    voxel = level * float(np.median(spacing))
    smoothed = [
        sitk.SmoothingRecursiveGaussian(_image(values, spacing, voxel), voxel / 2)
        for values in (source, target)
    ]
    return _Level(
        (smoothed[0], smoothed[1]), _image(near.astype(np.float32), spacing, voxel) > 0.5, voxel
    )


def _image(
    values: Float[np.ndarray, "*space"], spacing: tuple[float, ...], voxel: float
) -> sitk.Image:
    """Centred on its own middle, shrunk to about `voxel` mm along every axis."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values, np.float32))
    image.SetSpacing(spacing[::-1])
    sides = list(zip(image.GetSize(), image.GetSpacing(), strict=True))
    image.SetOrigin([-(count - 1) / 2 * step for count, step in sides])
    factors = [max(1, min(round(voxel / step), count // LEAST_SIDE)) for count, step in sides]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _one_way(
    levels: list[_Level], way: int, shift: Float[np.ndarray, " axes"], seed: int
) -> tuple[Matrix, Matrix]:
    """Rigid and affine, from where the pair lies or from centre on centre; the better start."""
    axes = len(shift)
    fits = []
    for by in (np.zeros_like(shift), shift):
        start = sitk.Euler3DTransform() if axes == 3 else sitk.Euler2DTransform()
        start.SetTranslation(by[::-1].tolist())
        fits.append(_fit(levels[0], way, start, seed, None))
    found = min(fits, key=lambda fit: fit[1])[0]
    for level in levels[1:]:
        found = _fit(level, way, found, seed, way)[0]
    affine = sitk.AffineTransform(axes)
    affine.SetMatrix(found.GetMatrix())
    affine.SetTranslation(found.GetTranslation())
    for level in levels[1:]:
        affine = _fit(level, way, affine, seed, way)[0]
    return _matrix(found), _matrix(affine)


def _fit(
    level: _Level, way: int, start: sitk.Transform, seed: int, parity: int | None
) -> tuple[Any, float]:
    moving, fixed = level.images if way == 0 else level.images[::-1]
    where = sitk.GetArrayFromImage(level.near)
    if parity is not None:
        where[1 - parity :: 2] = 0
    samples = sitk.GetImageFromArray(where)
    samples.CopyInformation(fixed)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, POINTS / max(int(where.sum()), 1)), seed + 1)
    method.SetMetricFixedMask(samples)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.voxel / 2,
        minStep=level.voxel / 500,
        numberOfIterations=200,
        relaxationFactor=0.8,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(type(start)(start), inPlace=True)
    found = method.Execute(fixed, moving)
    if isinstance(found, sitk.CompositeTransform):
        found = found.GetNthTransform(0)
    return type(start)(found), method.GetMetricValue()


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
