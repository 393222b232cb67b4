"""How much of a file is read, as flags of every command that reads other people's files."""

from dataclasses import dataclass

from radlearn.errors import refuse_unless_positive
from radlearn.records.guard import Limits


@dataclass(frozen=True)
class LimitFlags:
    """What a file may claim before it is refused, checked before anything is allocated."""

    max_pixels: int = Limits().pixels
    """Rows times columns of an image, or of a slice; more is refused."""
    max_bytes: int = Limits().bytes
    """Of a file, of what it unpacks to, and of its pixels; more is refused."""

    def __post_init__(self) -> None:
        refuse_unless_positive(self, "max_pixels", "max_bytes")

    @property
    def limits(self) -> Limits:
        return Limits(self.max_pixels, self.max_bytes)
