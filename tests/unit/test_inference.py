"""Running over many images: memory that runs out costs a smaller batch, never an answer."""

import numpy as np
import pytest
import torch

from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.inference import in_batches
from radlearn.models.saliency import class_activation


def test_batches_are_halved_when_memory_runs_out_and_nothing_is_lost() -> None:
    sizes = []

    def run(positions: np.ndarray) -> torch.Tensor:
        if len(positions) > 3:
            raise torch.OutOfMemoryError("too much at once")
        sizes.append(len(positions))
        return torch.from_numpy(positions).float()[:, None]

    found = in_batches(10, 8, run)
    assert found[:, 0].tolist() == list(range(10))
    assert max(sizes) == 2


def test_what_does_not_fit_even_alone_is_an_error() -> None:
    def run(positions: np.ndarray) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much at once")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches(2, 4, run)


def test_another_fault_is_not_taken_for_a_lack_of_memory() -> None:
    def run(positions: np.ndarray) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(2, 4, run)


@pytest.mark.parametrize(
    ("architecture", "arguments", "side"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 2}, 32),
        ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}, 64),
    ],
)
def test_saliency_lies_on_the_image_and_follows_the_label(
    architecture: str, arguments: dict[str, object], side: int
) -> None:
    torch.manual_seed(0)
    model = build_classifier(BackboneConfig(architecture, arguments), 2)
    for p in model.get_classifier().parameters():
        torch.nn.init.normal_(p)
    image = torch.randn(1, 3, side, side)
    heat = class_activation(model, image, 0)
    assert heat.shape == (side, side) and heat.min() >= 0
    assert not np.allclose(heat, class_activation(model, image, 1))
