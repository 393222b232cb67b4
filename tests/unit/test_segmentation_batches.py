"""What training sees of an image and its mask: the same part, the same way round."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch

from radlearn.finetuning import segmentation_batches
from radlearn.finetuning.segmentation_batches import (
    Augment,
    SegmentationBatches,
    may_flip,
    window_at,
)
from radlearn.records.record import NOT_ANNOTATED

SIDE = 48


class Records:
    """Stands for a `Selection`: images that are their masks in grey."""

    def __init__(self, count: int = 6) -> None:
        self.ids = [str(at) for at in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def mask(self, at: int) -> np.ndarray:
        rows, columns = np.mgrid[:SIDE, :SIDE]
        left = (rows - 20) ** 2 + (columns - 12 - at) ** 2 < 64
        right = (rows - 28) ** 2 + (columns - 34) ** 2 < 100
        return left.astype(np.uint8) + 2 * right.astype(np.uint8)

    def image(self, at: int) -> np.ndarray:
        return self.mask(at) * 100

    def take(self, positions: np.ndarray) -> "Records":
        taken = Records(0)
        taken.ids = [self.ids[at] for at in positions]
        return taken


def made(augment: Augment = "plain", size: int = 32, **more: object) -> SegmentationBatches:
    return SegmentationBatches(Records(), size, 4, 7, augment, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("augment", ["none", "plain", "strong"])
@pytest.mark.parametrize("sliding", [False, True])
def test_image_and_mask_move_together(
    augment: Augment, sliding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation_batches, "_partly_hidden", lambda image, rng: image)
    for step in range(6):
        batch = made(augment, sliding=sliding)(step)
        assert batch["image"].shape == (4, 1, 32, 32) and batch["mask"].shape == (4, 32, 32)
        for image, mask in zip(batch["image"][:, 0].float(), batch["mask"], strict=True):
            inside = mask != NOT_ANNOTATED
            seen = [image[inside & (mask == one)] for one in (0, 1, 2)]
            means = [one.mean() for one in seen if len(one) > 20]
            assert all(a + 40 < b for a, b in pairwise(means))


def test_strong_augmentation_hides_parts_of_images_and_not_of_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strong = SegmentationBatches(Records(), 32, 64, 7, "strong")  # type: ignore[arg-type]
    hidden = strong(0)
    monkeypatch.setattr(segmentation_batches, "_partly_hidden", lambda image, rng: image)
    whole = strong(0)
    assert torch.equal(hidden["mask"], whole["mask"])
    changed = (hidden["image"] != whole["image"]).float().mean(dim=(1, 2, 3))
    assert 16 <= int((changed > 0).sum()) <= 48
    assert 0.01 < float(changed.max()) < 0.25


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    make = made("strong")
    again = pickle.loads(pickle.dumps(make))(3)
    for name, value in make(3).items():
        if name != "ids":
            torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    assert not torch.equal(make(3)["mask"], make(4)["mask"])


def test_without_augmentation_the_whole_picture_is_seen() -> None:
    batch = made("none", size=SIDE).of(np.array([2]), step=5)
    assert (batch["mask"][0].numpy() == Records().mask(2)).all()
    assert (batch["image"][0, 0].numpy() == Records().image(2)).all()


def test_windows_keep_the_resolution_and_find_what_there_is() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[40:43, 1:3] = 1
    rng = np.random.default_rng(0)
    corners = [window_at(mask, 16, rng) for _ in range(1000)]
    assert all(0 <= top <= 32 and 0 <= left <= 32 for top, left in corners)
    hit = np.mean([mask[t : t + 16, left : left + 16].any() for t, left in corners])
    assert 0.45 < hit < 0.65
    mask[:] = NOT_ANNOTATED
    assert len({window_at(mask, 16, rng) for _ in range(50)}) > 20


def test_sides_are_not_exchanged() -> None:
    assert may_flip(("lung", "pneumothorax")) and may_flip(("bright spot", "aleft"))
    assert not may_flip(("Left lung", "heart")) and not may_flip(("lung_right",))
    for step in range(8):
        batch = made("plain", flips=False)(step)
        for mask in batch["mask"]:
            columns = [np.argwhere(mask.numpy() == one)[:, 1] for one in (1, 2)]
            if all(len(one) > 10 for one in columns):
                assert columns[0].mean() < columns[1].mean()


def test_what_turning_uncovers_is_not_annotated() -> None:
    batch = made("strong", crop=(1.0, 1.0))(0)
    corners = torch.stack([batch["mask"][:, at, 0] for at in (0, -1)])
    assert (corners == NOT_ANNOTATED).any()
    assert (made("plain")(0)["mask"] != NOT_ANNOTATED).all()


def test_processes_share_a_batch() -> None:
    whole = made()(2)["ids"]
    parts = [made(rank=rank, world=2)(2)["ids"] for rank in (0, 1)]
    assert sorted(whole) == sorted(parts[0] + parts[1])
