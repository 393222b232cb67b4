"""docs/papers.md and the recipes say what their runs cost: by operations counted from the layers.

`python tests/test_papers.py` writes the numbers of docs/papers.md anew.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

from radlearn.grids.costs import PEAK, SHARES, Cost, cost_of
from radlearn.grids.operations import (
    finetuning_step,
    inference,
    pretraining_step,
    segmentation,
    segmentation_step,
    translation_forward,
    translation_step,
)
from radlearn.grids.recipe_files import read_recipe, shipped

PAGE = Path(__file__).resolve().parents[1] / "docs" / "papers.md"
ROW = re.compile(r"^(\|.*`radlearn compare ([\w-]+)` \| )([^|]*)( \|)$", re.MULTILINE)
COUNTS = re.compile(r"(\| work \| GFLOP \|\n\|---\|---\|\n)((?:\|.*\n)+)")
FIX = "run `python tests/test_papers.py` and commit docs/papers.md"
MODES = ("nc", "nc+r", "p2p", "c", "c+r")
HOSTS = ("munit", "unit", "nicegan")
PUBLISHED_MRM, PUBLISHED_REGGAN = 77.8, 494
"""GFLOP of a step of the authors' own code: a record of MRM, a pair of RegGAN's NC+R."""


@cache
def passes() -> dict[str, int]:
    return dict(translation_forward())


@cache
def step_of(mode: str, host: str = "resnet") -> int:
    return translation_step(mode, host)


@cache
def cost(name: str) -> Cost:
    path = shipped() / f"{name}.toml"
    places = dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), "somewhere")
    with mock.patch.dict(os.environ, places):
        return cost_of(read_recipe(path))


def giga(*counts: int) -> str:
    return "; ".join(f"{count / 1e9:,.1f}" for count in counts)


def work() -> Iterator[tuple[str, str]]:
    """The rows of the page's table of operations."""
    yield "a record of MRM's pretraining, ViT-B, 448 px target", giga(pretraining_step())
    yield "an image through ViT-B/16 at 224 px", giga(inference())
    tuners = [("full", 4), ("lora", 4), ("lora", 32), ("linear", 4)]
    steps = giga(*(finetuning_step(tuner, rank) for tuner, rank in tuners))
    yield "an image of its training: full; LoRA of rank 4; of rank 32; linear", steps
    masks = giga(segmentation(), segmentation_step())
    yield "an image of 512 px through ViT-B with UPerNet, 512 wide; of its training", masks
    networks = giga(*(passes()[name] for name in ("G_ab", "D_b", "R")))
    yield "a slice of 256 px through RegGAN's G; D; R", networks
    yield (
        f"a pair of its training: {'; '.join(m.upper() for m in MODES)}",
        giga(*(step_of(mode) for mode in MODES)),
    )
    for host in HOSTS:
        yield f"the same in {host}: C; C+R", giga(step_of("c", host), step_of("c+r", host))


def hours(name: str) -> str:
    """Two digits are more than the assumptions bear."""
    return f"{float(f'{cost(name).hours:.2g}'):,g}"


def with_numbers(text: str) -> str:
    """The page with its hours and counts as they come out."""
    text = ROW.sub(lambda row: f"{row[1]}{hours(row[2])}{row[4]}", text)
    rows = "".join(f"| {what} | {count} |\n" for what, count in work())
    return COUNTS.sub(lambda table: table[1] + rows, text)


def test_the_page_has_the_hours_and_operations_that_are_counted() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(ROW.findall(text)) >= 8 and COUNTS.search(text)
    assert with_numbers(text) == text, FIX


def test_the_page_says_what_was_assumed_of_the_gpu() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for share in SHARES.values():
        assert f"{100 * share:g} %" in text
    assert f"{PEAK / 1e12:g} TFLOP/s" in text


def test_a_step_of_mrm_counts_as_the_authors_code_does() -> None:
    assert pretraining_step() / 1e9 == pytest.approx(PUBLISHED_MRM, abs=0.1)


def test_a_step_of_reggan_counts_as_the_authors_code_does() -> None:
    """Theirs computes the critic's gradient by the generator's loss, too, and throws it away."""
    thrown_away = passes()["D_b"]
    assert (step_of("nc+r") + thrown_away) / 1e9 == pytest.approx(PUBLISHED_REGGAN, rel=0.002)


def test_what_is_frozen_needs_no_gradient() -> None:
    answer = inference()
    assert finetuning_step("full") == pytest.approx(3 * answer, rel=0.01)
    assert finetuning_step("lora") == pytest.approx(2 * answer, rel=0.03)
    assert finetuning_step("linear") == pytest.approx(answer, rel=0.001)


@pytest.mark.parametrize("name", sorted({match[1] for match in ROW.findall(PAGE.read_text())}))
def test_recipes_say_the_same_hours(name: str) -> None:
    text = (shipped() / f"{name}.toml").read_text(encoding="utf-8")
    told = re.search(r'^cost = "about ([\d.,]+) hours? on one GPU', text, re.MULTILINE)
    assert told, f'{name}.toml: say `cost = "about N hours on one GPU"`'
    assert float(told[1].replace(",", "")) == pytest.approx(cost(name).hours, rel=0.1, abs=0.05)


if __name__ == "__main__":
    PAGE.write_text(with_numbers(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
