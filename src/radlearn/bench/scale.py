"""`radlearn bench scale`: whether cost grows as it should."""

from radlearn.bench.config import ScaleConfig


def scale(config: ScaleConfig) -> None:
    """Measure growth."""
