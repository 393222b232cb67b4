"""What a worker process does: a file in, a picture on its square out. Nothing here needs torch."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Shaped, UInt8

from radlearn.errors import InputError
from radlearn.records.burnt_in import text_of
from radlearn.records.duplicates import picture_hash
from radlearn.records.geometry import fitted, fitted_mask
from radlearn.records.masks import read_mask
from radlearn.records.names import Fit
from radlearn.records.readers import Limits, read_pixels
from radlearn.records.record import MaskSource, View

TASK_IMAGES = 4
TASKS_AHEAD = 4  # a worker; bounds what waits in memory
CRASHED = "its decoder crashed: the file is damaged or hostile"
NO_MEMORY = "memory ran out while decoding: use fewer --workers or a lower --max-pixels"


@dataclass(frozen=True)
class Job:
    """One picture to decode; `key` is the caller's own."""

    key: int
    image: Path
    mask: MaskSource | None
    size: int
    fit: Fit
    bits: int
    limits: Limits


@dataclass(frozen=True)
class Decoded:
    """A picture on its square, or why there is none (`reason`); `mask_reason` for its mask.

    Attributes:
        height, width: of the source, pixels.
        spacing: millimetres between rows and between columns of the source, where it says so.
        text: why it may show text that was burnt into it.
        mask_resized: the mask was drawn in another resolution than its image.
        grey, grey_squared: sums over the square of values scaled to [0, 1].
    """

    key: int
    reason: str | None = None
    image: Shaped[np.ndarray, "size size"] | None = None
    mask: UInt8[np.ndarray, "size size"] | None = None
    mask_reason: str | None = None
    mask_resized: bool = False
    sha256: str | None = None
    phash: str | None = None
    text: str | None = None
    height: int | None = None
    width: int | None = None
    spacing: tuple[float, float] | None = None
    view: View = View.UNKNOWN
    age: float | None = None
    sex: str | None = None
    grey: float = 0.0
    grey_squared: float = 0.0


def decode(job: Job) -> Decoded:
    """Decode one picture; whatever goes wrong with a file is its reason, never an exception."""
    try:
        pixels = read_pixels(job.image, job.limits)
        height, width = pixels.values.shape
        image = fitted(pixels.values, job.size, job.fit, job.bits)
        with job.image.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        phash = picture_hash(pixels.values)
        text = text_of(pixels)
    except Exception as error:  # a hostile file may raise anything from the depth of a codec
        return Decoded(job.key, _reason(error, job.image))
    grey = image.astype(np.float64) / np.iinfo(image.dtype).max
    decoded = Decoded(
        job.key,
        image=image,
        sha256=sha256,
        phash=phash,
        text=text,
        height=height,
        width=width,
        spacing=pixels.spacing,
        view=pixels.view,
        age=pixels.age,
        sex=pixels.sex,
        grey=float(grey.sum()),
        grey_squared=float(np.square(grey).sum()),
    )
    if job.mask is None:
        return decoded
    try:
        drawn = read_mask(job.mask, job.limits, job.image)
        mask = fitted_mask(drawn, height, width, job.size, job.fit)
    except Exception as error:
        return replace(decoded, mask_reason=_reason(error, job.image))
    return replace(decoded, mask=mask, mask_resized=drawn.shape != (height, width))


def _reason(error: Exception, path: Path) -> str:
    """Why a file is not taken in, without its name, which is listed beside it."""
    if isinstance(error, MemoryError):
        raise error  # not the file's fault
    if isinstance(error, InputError):
        return str(error).removeprefix(f"{path.name}: ")
    return f"cannot be decoded ({type(error).__name__})"  # its words may quote a header


def _decode_all(jobs: Sequence[Job]) -> list[Decoded]:
    return [decode(job) for job in jobs]


class Decoder:
    """Decodes in worker processes (0: in this one); a context manager that holds the pool."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def in_order(self, jobs: Iterable[Job]) -> Iterator[Decoded]:
        """Results in the order of the jobs, whatever the number of workers.

        What waits in memory is bounded by the number of workers, not of jobs. A file whose decoder
        takes its process down is found, and given back with that as its reason.
        """
        if self.workers == 0:
            yield from map(decode, jobs)
            return
        jobs = iter(jobs)
        waiting: deque[tuple[tuple[Job, ...], Future[list[Decoded]]]] = deque()
        while True:
            while len(waiting) < self.workers * TASKS_AHEAD and (
                task := tuple(islice(jobs, TASK_IMAGES))
            ):
                waiting.append((task, self._submit(task)))
            if not waiting:
                return
            task, future = waiting.popleft()
            try:
                results = future.result()
            except MemoryError:
                raise InputError(NO_MEMORY) from None
            except BrokenProcessPool:
                self._stop()
                results = [self._alone(job) for job in task]
                self._stop()
                waiting = deque((task, self._submit(task)) for task, _ in waiting)
            yield from results

    def _submit(self, task: tuple[Job, ...]) -> Future[list[Decoded]]:
        if self._pool is None:
            self._pool = _new_pool(self.workers)
        try:
            return self._pool.submit(_decode_all, task)
        except BrokenProcessPool as error:  # another task broke it; told when this one's turn comes
            broken: Future[list[Decoded]] = Future()
            broken.set_exception(error)
            return broken

    def _alone(self, job: Job) -> Decoded:
        """Decode one picture in a pool of one, so that a crash says which picture it was."""
        if self._pool is None:
            self._pool = _new_pool(1)
        try:
            return self._pool.submit(_decode_all, (job,)).result()[0]
        except BrokenProcessPool:
            self._stop()
            return Decoded(job.key, CRASHED)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _new_pool(workers: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
