"""Masks of whole stored pictures: seen whole at the model's size, or window by window."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from radlearn.engine.device import Compute
from radlearn.models.attention import choose_attention
from radlearn.models.inference import in_batches
from radlearn.models.segmenter import Segmenter
from radlearn.records.transforms import Preprocessing, as_tensor, normalised, resized

Inference = Literal["whole", "sliding"]
OVERLAP = 0.5
"""Share of a window that the next one sees again."""


def predicted_masks(
    model: Segmenter,
    pictures: list[Shaped[np.ndarray, "side side"]],
    preprocessing: Preprocessing,
    inference: Inference,
    here: Compute,
    batch: int,
) -> UInt8[np.ndarray, "pictures side side"]:
    """The class of every pixel of stored pictures, uint8 or uint16.

    Args:
        batch: pictures, or windows, at a time; halved where memory runs out.
    """
    stacked = torch.stack([as_tensor(one).float() for one in pictures])

    def run(positions: np.ndarray) -> Tensor:
        images = stacked[torch.from_numpy(positions)].to(here.device)
        return classes_of(
            probabilities(model, images, preprocessing, inference, here, len(positions))
        )

    model.eval()
    with torch.inference_mode():
        return in_batches(len(pictures), batch, run).numpy().astype(np.uint8)


def probabilities(
    model: Segmenter,
    images: Float[Tensor, "batch 1 side side"],
    preprocessing: Preprocessing,
    inference: Inference,
    here: Compute,
    windows: int,
) -> Float[Tensor, "batch outputs side side"]:
    """Of every output (see `Segmenter`) at every pixel of the stored pictures.

    Args:
        images: grey values in [0, 255].
        inference: whole: brought to the model's size, and the probabilities back from it;
            sliding: windows of the model's size, overlapping by half and blended by a Gaussian.
        windows: at a time.
    """

    def answered(seen: Tensor) -> Tensor:
        with here.autocast():
            choose_attention(model, here.device)
            logits = model(seen).float()
        return logits.sigmoid() if model.outputs == 1 else logits.softmax(1)

    size = preprocessing.size
    if inference == "sliding":
        from monai.inferers.utils import sliding_window_inference

        found = sliding_window_inference(
            normalised(images, preprocessing), size, windows, answered, OVERLAP, mode="gaussian"
        )
        assert isinstance(found, Tensor)
        return found
    found = answered(normalised(resized(images, size), preprocessing))
    return F.interpolate(found, size=images.shape[-2:], mode="bilinear", align_corners=False)


def classes_of(
    probability: Float[Tensor, "batch outputs side side"],
) -> UInt8[Tensor, "batch side side"]:
    """0 for background, k for class k: the likeliest; of one class where it is above one half."""
    if probability.shape[1] == 1:
        return (probability[:, 0] > 0.5).to(torch.uint8)
    return probability.argmax(1).to(torch.uint8)
