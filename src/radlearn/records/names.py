"""Names that settings share, apart from what reads files so that help pages open at once."""

from typing import Literal

Axis = Literal["axial", "coronal", "sagittal"]
Fit = Literal["pad", "crop", "stretch"]
