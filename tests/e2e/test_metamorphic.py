"""What must not change an answer, through the real commands."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from e2e.conftest import run
from radlearn.metrics.translation import BACKGROUND
from radlearn.models.losses import l1_loss
from radlearn.models.registration import Registration, registration_config, smoothness, warp
from radlearn.records.pair_store import clipped, open_pairs
from radlearn.records.readers import read_pixels
from radlearn.translation.modes import MODES
from unit.made_dicom import made

PEFT = "base_model.model."


@pytest.fixture(scope="module")
def pictures(phantom_folder: Path) -> list[Path]:
    return sorted(phantom_folder.rglob("*.png"))[:7]


def answers(tuned: Path, out: Path, *given: object) -> pl.DataFrame:
    assert run("predict", tuned, *given, "--out", out, "--precision", "float32") == 0
    return pl.read_parquet(out)


def numbers(table: pl.DataFrame) -> np.ndarray:
    return table.select(pl.selectors.float()).to_numpy()


@pytest.mark.parametrize("bits", [8, 12])
def test_monochrome1_turned_over_gives_the_same_answer(
    lab: Path, pictures: list[Path], tmp_path: Path, bits: int
) -> None:
    dtype, most = (np.uint8, 255) if bits == 8 else (np.uint16, 4095)
    window = {} if bits == 8 else {"WindowWidth": 3001}
    for name in ("one", "turned"):
        (tmp_path / name).mkdir()
    for number, path in enumerate(pictures):
        values = (read_pixels(path).values.astype(np.float64) * most / 255).astype(dtype)
        for name, photometric in (("one", "MONOCHROME2"), ("turned", "MONOCHROME1")):
            turned = name == "turned"
            centre = {} if bits == 8 else {"WindowCenter": most - 1800 + 1 if turned else 1800}
            made(
                tmp_path / name / f"{number}.dcm",
                most - values if turned else values,
                PhotometricInterpretation=photometric,
                BitsStored=bits,
                **window,
                **centre,
            )
    found = [
        numbers(answers(lab / "full", tmp_path / f"{name}.parquet", tmp_path / name))
        for name in ("one", "turned")
    ]
    assert len(found[0]) == len(pictures)
    assert np.ptp(found[0], axis=0).max() > 1e-4  # the answers are of the pictures
    np.testing.assert_array_equal(found[0], found[1])


def test_the_order_of_pictures_is_the_order_of_answers_and_no_more(
    lab: Path, pictures: list[Path], tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(len(pictures))
    mixed = [pictures[at] for at in order]
    first = answers(lab / "lora", tmp_path / "first.parquet", *pictures)
    again = answers(lab / "lora", tmp_path / "again.parquet", *mixed)
    alone = answers(lab / "lora", tmp_path / "alone.parquet", *pictures, "--batch", 2)
    assert again["file"].to_list() == [first["file"][int(at)] for at in order]
    np.testing.assert_allclose(numbers(again), numbers(first)[order], atol=1e-5)
    np.testing.assert_allclose(numbers(alone), numbers(first), atol=1e-5)


def test_a_lora_whose_b_is_zero_answers_as_its_base(
    lab: Path, pictures: list[Path], tmp_path: Path
) -> None:
    lora, base = (shutil.copytree(lab / name, tmp_path / name) for name in ("lora", "linear"))
    adapter = lora / "model" / "adapter" / "adapter_model.safetensors"
    tensors = load_file(adapter)
    learnt = [name for name in tensors if ".lora_B." in name]
    assert learnt and any(bool(tensors[name].any()) for name in learnt)
    save_file(tensors | {name: torch.zeros_like(tensors[name]) for name in learnt}, adapter)
    head = base / "model" / "adapter" / "head.safetensors"
    save_file({name: tensors[PEFT + name] for name in load_file(head)}, head)
    without = answers(lora, tmp_path / "lora.parquet", *pictures)
    np.testing.assert_array_equal(
        numbers(without), numbers(answers(base, tmp_path / "base.parquet", *pictures))
    )
    before = answers(lab / "lora", tmp_path / "before.parquet", *pictures)
    assert not np.array_equal(numbers(without), numbers(before))


def test_a_pair_with_itself_gives_a_field_of_zeros_after_training_on_aligned_pairs(
    lab: Path,
) -> None:
    """R starts at fields of over a pixel, and learns from pairs that differ in their grey alone.

    The bound is a tenth of a pixel on average, of slices that it was not trained on.
    """
    torch.manual_seed(0)
    store = open_pairs(lab / "pairs")
    slices = [torch.from_numpy(clipped(store.target(row))).swapaxes(0, 1) for row in range(3)]
    net = Registration(registration_config("tiny", 1, 2, 32))
    nn.init.normal_(net.offset_map.output["conv2d"].weight, std=0.3)
    held = slices.pop()
    held = held[(held > BACKGROUND).float().mean((1, 2, 3)) > 0.1]

    def mean() -> float:
        with torch.no_grad():
            return float(net(held, held).norm(dim=1)[held[:, 0] > BACKGROUND].mean())

    before = mean()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    pairs = torch.cat(slices)
    weights = MODES["nc+r"].weights
    for _ in range(200):
        real = pairs[torch.randint(len(pairs), (8,))]
        made = real * (0.9 + 0.2 * torch.rand(8, 1, 1, 1)) + 0.02 * torch.randn_like(real)
        field = net(made, real)
        loss = weights.registration * l1_loss(warp(made, field), real)
        loss = loss + weights.smoothness * smoothness(field)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > 1
    assert mean() < 0.1
