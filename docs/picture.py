"""Draws docs/picture.png, four phantom records as pretraining sees them: python docs/picture.py"""

import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from radlearn.records.phantoms import LABEL_NAMES, Phantom, phantom
from radlearn.records.transforms import generator

SEED, SIZE, PATCH = 0, 288, 18
FINDINGS = ("Effusion", "Consolidation", "Pneumothorax", "Cardiomegaly")
PAPER, INK, ACCENT = "#ffffff", "#1d2733", "#e8590c"


def clearest(finding: str) -> Phantom:
    """The first patient with a report of moderate length who has that finding and no other."""
    for patient in range(1000):
        drawn = phantom(patient, 0, SEED, SIZE)
        alone = [name for name in LABEL_NAMES if drawn.truth[name]] == [finding]
        large = sum(box.width * box.height for box in drawn.boxes) > 0.03
        said = drawn.report is not None and 60 < len(drawn.report) < 210
        if alone and large and said and drawn.labels == drawn.truth:
            return drawn
    raise LookupError(f"no phantom shows {finding} alone")


def masked(image: np.ndarray, number: int, keep: float = 0.25) -> np.ndarray:
    """The quarter of the patches that an encoder sees in pretraining."""
    side = len(image) // PATCH
    noise = generator(SEED, number).random(side * side)
    seen = np.argsort(noise)[: round(keep * side * side)]
    shown = np.zeros(side * side, dtype=bool)
    shown[seen] = True
    grid = shown.reshape(side, side).repeat(PATCH, 0).repeat(PATCH, 1)
    return np.where(grid, image, 205).astype(np.uint8)


def main(path: Path) -> None:
    figure, axes = plt.subplots(2, len(FINDINGS), figsize=(11, 6.9), dpi=100, facecolor=PAPER)
    for column, finding in enumerate(FINDINGS):
        drawn = clearest(finding)
        above, below = axes[0, column], axes[1, column]
        above.imshow(drawn.image, cmap="gray", vmin=0, vmax=255)
        for box in drawn.boxes:
            corner = (box.x * SIZE, box.y * SIZE)
            width, height = box.width * SIZE, box.height * SIZE
            above.add_patch(
                Rectangle(corner, width, height, fill=False, edgecolor=ACCENT, linewidth=1.6)
            )
        above.set_title(finding, color=INK, fontsize=12, loc="left")
        below.imshow(masked(drawn.image, column + 1), cmap="gray", vmin=0, vmax=255)
        words = textwrap.fill(drawn.report or "", 38)
        below.text(0, -0.04, words, transform=below.transAxes, va="top", color=INK, fontsize=8.5)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.15, wspace=0.04, hspace=0.04)
    figure.savefig(path)
    plt.close(figure)
    # 96 colours are enough for grey pictures and one accent, and a third of the bytes.
    Image.open(path).convert("RGB").quantize(96, Image.Quantize.MAXCOVERAGE).save(
        path, optimize=True
    )
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(Path(__file__).with_name("picture.png"))
