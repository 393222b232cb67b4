"""Names that settings share, apart from torch so that help pages open at once."""

from typing import Literal

PrecisionName = Literal["auto", "float32", "bfloat16"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
OnFault = Literal["stop", "skip"]
