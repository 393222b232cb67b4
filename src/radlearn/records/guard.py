"""What stands between a stranger's file and the decoders: limits, silence, one kind of error."""

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from radlearn.errors import UnreadableError

# Decoders log header values, which may be a patient's; only a reason in our own words may leave.
for _name in ("pydicom", "pylibjpeg", "PIL", "nibabel"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Limits:
    """How much one file may claim before it is refused, checked before anything is allocated.

    Attributes:
        pixels: rows times columns.
        bytes: of the file, of what it unpacks to, and of its decoded pixels.
    """

    pixels: int = 2**26
    bytes: int = 2**29

    def check(self, height: int, width: int, bytes_per_pixel: float) -> None:
        """Raise `Refusal` where an image of this size is too large, or has no pixels at all."""
        if height < 1 or width < 1:
            raise Refusal(f"its header claims an image of {height} x {width} pixels")
        if height * width > self.pixels or height * width * bytes_per_pixel > self.bytes:
            raise Refusal(
                f"its header claims {height} x {width} pixels, more than the limit of "
                f"{self.pixels} pixels or {self.bytes} bytes"
            )


DEFAULT_LIMITS = Limits()


class Refusal(Exception):  # noqa: N818 - a verdict about a file, turned into an error with its name
    """Why a file is not taken in, in words that are safe to log."""


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises about `path` into `UnreadableError("name: reason")`.

    The text of a library's error is left out, since it may quote the header. A lack of memory is
    not the file's fault and goes on.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableError, MemoryError):
        raise
    except Refusal as refusal:
        raise UnreadableError(f"{path.name}: {refusal}") from None
    except OSError as error:
        if error.errno is None:  # Pillow's way to say that the contents are bad
            raise UnreadableError(f"{path.name}: damaged or cut short (OSError)") from None
        raise UnreadableError(f"{path.name}: cannot be read ({error.strerror})") from None
    except Exception as error:
        raise UnreadableError(f"{path.name}: damaged ({type(error).__name__})") from None


@contextmanager
def step(what: str) -> Iterator[None]:
    """Name the step that fails: `with step("its header is damaged"): ...`."""
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        raise Refusal(f"{what} ({type(error).__name__})") from None


def head(path: Path, size: int) -> bytes:
    """The first `size` bytes of a regular file: a pipe would be waited for without end."""
    if not path.is_file():
        raise Refusal("not a regular file" if path.exists() else "there is no such file")
    with path.open("rb") as file:
        return file.read(size)


def contents(path: Path, limits: Limits) -> bytes:
    """The whole of a regular file no larger than `limits.bytes`."""
    raw = head(path, limits.bytes + 1)
    if not raw:
        raise Refusal("the file is empty")
    if len(raw) > limits.bytes:
        raise Refusal(f"the file is larger than the limit of {limits.bytes} bytes")
    return raw


def inflated(packed: bytes, limits: Limits, window_bits: int) -> bytes:
    """Unpack a zlib, gzip or raw deflate stream (`window_bits` as in zlib), but never without end.

    A stream that is cut short gives what is there.
    """
    with step("its compressed contents are damaged"):
        raw = zlib.decompressobj(window_bits).decompress(packed, limits.bytes + 1)
    if len(raw) > limits.bytes:
        raise Refusal(f"it unpacks to more than the limit of {limits.bytes} bytes")
    return raw
