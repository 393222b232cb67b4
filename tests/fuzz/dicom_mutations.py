"""Every file of a folder, and each with seeded mutations of its bytes, through what prepare does.

python -m fuzz.dicom_mutations FOLDER --out FOLDER [--mutations 200] [--seconds N]

Run from tests/. Each is read or refused with a reason; a hang of over 10 s of computing, a dead
decoder, more than 2 GB of memory or an error of any other kind is a finding, whose bytes are kept
in the out folder. What was done stays in results.jsonl, a line a file: the same command goes on
from there.
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radlearn.errors import UnreadableError
from radlearn.records.decoding import Job, decode
from radlearn.records.dicom_header import read_header
from radlearn.records.guard import Limits

MUTATIONS = 200
HANG = 10.0  # seconds of computing
STUCK = 300.0  # seconds by the clock, on a machine that is busy with other things
MEMORY = 2 * 2**30  # bytes that a decoder may have
SEED = 0xD1C0
HEADER = 4096  # bytes
NEAR_PIXELS = 256  # bytes: where a compressed picture has a header of its own
PIXEL_TAGS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
BOUNDARIES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
UNFORESEEN = "cannot be decoded ("  # how the decoder's last net words what no reader foresaw


@dataclass
class Tally:
    """What became of a file and its mutations.

    Attributes:
        whole: what became of the file as it is.
        refused: reason, its numbers left out, to how often it was given.
        findings: what must not happen, with the number of the mutation.
        slowest: seconds of computing for one of them.
        memory: the most that a decoder had, MB.
    """

    file: str
    size: int
    mutations: int = 0
    whole: str = ""
    read: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory: float = 0.0


def mutated(contents: bytes, rng: np.random.Generator) -> bytes:
    """One to eight changes: a bit flipped, bytes overwritten, a piece cut out, put in, cut off.

    Half of the places are in the header, or where the pixels begin.
    """
    changed = bytearray(contents)
    for _ in range(int(rng.integers(1, 9))):
        if not changed:
            return bytes(changed)
        place, length = _place(changed, rng), int(rng.integers(1, 17))
        kind = int(rng.integers(16))
        if kind < 6:
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind < 10:
            changed[place : place + length] = rng.bytes(length)[: len(changed) - place]
        elif kind < 12:
            edge = BOUNDARIES[int(rng.integers(len(BOUNDARIES)))]
            changed[place : place + length] = bytes([edge]) * min(length, len(changed) - place)
        elif kind == 12:
            del changed[place : place + length]
        elif kind == 13:
            changed[place:place] = rng.bytes(length)
        elif kind == 14:
            other = _place(changed, rng)
            changed[place:place] = changed[other : other + 64 * length]
        elif rng.random() < 0.3:
            del changed[place:]
    if changed == contents:
        changed[_place(changed, rng)] ^= 1
    return bytes(changed)


def _place(contents: bytearray, rng: np.random.Generator) -> int:
    kind = int(rng.integers(4))
    end = len(contents)
    if kind == 0:
        pixels = max(contents.rfind(tag) for tag in PIXEL_TAGS)
        if pixels >= 0:
            return min(end - 1, pixels + int(rng.integers(NEAR_PIXELS)))
    return int(rng.integers(min(end, HEADER) if kind < 2 else end))


def _judged(path: Path) -> str:
    """ "" where the file is read, else why it is refused.

    Raises:
        AssertionError: an error of another kind, or of several lines.
    """
    try:
        read_header(path)
    except UnreadableError as error:
        assert "\n" not in str(error), "an error is one line"
    done = decode(Job(0, path, None, 64, "pad", 8, Limits()))
    assert done.reason is None or not done.reason.startswith(UNFORESEEN), done.reason
    return done.reason or ""


def _changed(path: Path, contents: bytes, turn: int) -> bytes:
    """The file as it is for turn 0, else its mutation of that number."""
    if turn == 0:
        return contents
    return mutated(contents, np.random.default_rng((SEED, turn, *path.name.encode())))


def _serve(pipe: Connection, scratch: Path) -> None:
    """A decoder's process with limited memory: (path, first turn, last) in, `Verdict`s out."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    target = scratch / f"image-{os.getpid()}"
    while True:
        path, first, last = pipe.recv()
        contents = path.read_bytes()
        for turn in range(first, last + 1):
            target.write_bytes(_changed(path, contents, turn))
            began = time.process_time()
            try:
                finding, said = False, _judged(target)
            except BaseException as error:
                finding, said = True, f"{type(error).__name__}: {error}"[:200]
            seconds = time.process_time() - began
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            pipe.send(Verdict(turn, finding, said, seconds, memory))


class Verdict(NamedTuple):
    """What became of one reading: the words of a finding, else of a refusal, else nothing."""

    turn: int
    finding: bool
    said: str
    seconds: float
    memory: float


class Reader:
    """A process that reads a file and its mutations, replaced where it dies or hangs."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._process: Any = None

    def read(self, path: Path, mutations: int) -> Iterator[Verdict]:
        """The verdicts of turns 0 (the file as it is) to `mutations`."""
        turn = 0
        while turn <= mutations:
            if self._process is None:
                self._start()
            try:
                self._pipe.send((path, turn, mutations))
            except BrokenPipeError:  # it was ended from without after its last answer
                self.stop()
                continue
            while turn <= mutations:
                verdict = self._next(turn)
                yield verdict
                turn += 1
                if self._process is None:
                    break

    def _next(self, turn: int) -> Verdict:
        """The next verdict, or that of the turn in which the process died or hung."""
        began, before = time.monotonic(), self._computed()
        try:
            while not self._pipe.poll(1.0):
                if self._computed() - before > HANG or time.monotonic() - began > STUCK:
                    self.stop()
                    return Verdict(turn, True, f"hangs for over {HANG:.0f} s", HANG, 0.0)
            return Verdict(*self._pipe.recv())
        except EOFError:
            self._process.join()
            what = f"takes its decoder down ({self._process.exitcode})"
            self.stop()
            return Verdict(turn, True, what, 0.0, 0.0)

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        given = (theirs, self.scratch)
        self._process = spawn.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        theirs.close()

    def _computed(self) -> float:
        """Seconds of computing so far."""
        ended = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(ended[11]) + int(ended[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None


def tallied(path: Path, mutations: int, reader: Reader, out: Path) -> Tally:
    """Read a file and its mutations; the bytes of findings are kept in `out`."""
    contents = path.read_bytes()
    tally = Tally(path.name, len(contents), mutations)
    for verdict in reader.read(path, mutations):
        said = verdict.said
        tally.slowest = max(tally.slowest, verdict.seconds)
        tally.memory = max(tally.memory, verdict.memory)
        if verdict.finding:
            tally.findings.append(f"{verdict.turn}: {said}")
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{path.name}.{verdict.turn}").write_bytes(
                _changed(path, contents, verdict.turn)
            )
        elif verdict.turn == 0:
            tally.whole = said or "read"
        elif said:
            reason = re.sub(r"\d+", "N", said)
            tally.refused[reason] = tally.refused.get(reason, 0) + 1
        else:
            tally.read += 1
    return tally


def tallies(folder: Path, out: Path, mutations: int, seconds: float) -> Iterator[Tally]:
    """Those of earlier calls first, then further files until the time is over."""
    out.mkdir(parents=True, exist_ok=True)
    book, began, done = out / "results.jsonl", time.monotonic(), set()
    if book.exists():
        for line in book.read_text(encoding="utf-8").splitlines():
            before = Tally(**json.loads(line))
            if before.mutations == mutations:
                done.add(before.file)
                yield before
    with tempfile.TemporaryDirectory() as scratch:
        reader = Reader(Path(scratch))
        try:
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.name not in done and time.monotonic() - began < seconds:
                    tally = tallied(path, mutations, reader, out / "found")
                    with book.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(asdict(tally)) + "\n")
                    yield tally
        finally:
            reader.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mutations", type=int, default=MUTATIONS)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    reasons: Counter[str] = Counter()
    files = whole = read = findings = 0
    print(
        f"{'file':<44}{'mutations':>10}{'read':>6}{'refused':>8}{'slowest s':>10}{'MB':>6}  whole",
        flush=True,
    )
    for tally in tallies(given.folder, given.out, given.mutations, given.seconds):
        files, whole = files + 1, whole + (tally.whole == "read")
        read, findings = read + tally.read, findings + len(tally.findings)
        reasons.update(tally.refused)
        print(
            f"{tally.file[:42]:<44}{tally.mutations:>10}{tally.read:>6}"
            f"{sum(tally.refused.values()):>8}{tally.slowest:>10.2f}{tally.memory:>6.0f}"
            f"  {tally.whole[:60]}",
            flush=True,
        )
        for finding in tally.findings:
            print(f"  FINDING {finding}", flush=True)
    print(
        f"{files} files ({whole} read as they are); {files * given.mutations:,} mutations: "
        f"{read:,} read, {sum(reasons.values()):,} refused, {findings} findings"
    )
    for reason, count in reasons.most_common():
        print(f"{count:>8,}  {reason}")


if __name__ == "__main__":
    main()
