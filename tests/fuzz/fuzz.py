"""Coverage-guided fuzzing of one reader: python -m fuzz.fuzz dicom --seconds 300 --out FOLDER

Run from tests/. A crash, a hang of over 10 s or more than 2 GB of memory ends it, and the bytes
that did it are left in FOLDER: keep them, cut down, as a case of fuzz/findings.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

OURS = ("records", "datasets", "models.weight_files", "models.checkpoints", "grids.recipe_files")
GUIDING = [*(f"radlearn.{name}" for name in OURS), "pydicom", "nibabel", "PIL", "defusedxml"]

with atheris.instrument_imports(include=GUIDING, enable_loader_override=False):
    from fuzz.targets import TARGETS
from fuzz.seeds import seeds  # noqa: E402 - what stands above instruments what is imported

HANG = 10  # seconds
MEMORY = 2048  # MB
LONGEST = 2**16  # bytes of an input


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    corpus, found = given.out / "corpus", given.out / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(given.target, given.out / "seeds")):
        (corpus / f"seed-{number}").write_bytes(seed)
    target = TARGETS[given.target]
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={given.seconds}",
                f"-timeout={HANG}",
                f"-rss_limit_mb={MEMORY}",
                f"-max_len={LONGEST}",
                f"-artifact_prefix={found}/",
                "-print_final_stats=1",
                str(corpus),
            ],
            lambda contents: target(contents, Path(folder)),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
