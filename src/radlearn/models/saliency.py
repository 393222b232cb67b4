"""What in a picture spoke for a label."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.errors import InputError


def class_activation(
    model: nn.Module, image: Float[Tensor, "1 channels height width"], label: int
) -> Float[np.ndarray, "height width"]:
    """How much each place raises a label's logit (Grad-CAM, Selvaraju et al. 2017), 0 and up.

    The last features are weighed by the gradient of the logit with respect to their mean, what
    speaks against the label is left out, and the map is brought to the image's size.

    Raises:
        InputError: the model gives no map of features.
    """
    model.eval()
    with torch.enable_grad():
        features = model.forward_features(image).detach().requires_grad_()  # type: ignore[operator]
        logit = model.forward_head(features)[0, label]  # type: ignore[operator]
        (slope,) = torch.autograd.grad(logit, features)
    with torch.no_grad():
        size = image.shape[-2], image.shape[-1]
        grid, slopes = (_grid(model, values.float(), size) for values in (features, slope))
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        heat = (weights * grid).sum(1, keepdim=True).relu()
        heat = F.interpolate(heat, image.shape[-2:], mode="bicubic").clamp(min=0)
    return heat[0, 0].cpu().numpy()


def _grid(
    model: nn.Module, features: Tensor, size: tuple[int, int]
) -> Float[Tensor, "1 width rows columns"]:
    """Features of any timm backbone with the width first; `size` of the image, pixels."""
    if features.ndim == 4:
        last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        return features.permute(0, 3, 1, 2) if last else features
    embed: Any = getattr(model, "patch_embed", None)
    if features.ndim == 3 and hasattr(embed, "patch_size"):
        rows, columns = (side // patch for side, patch in zip(size, embed.patch_size, strict=True))
        patches = features[:, getattr(model, "num_prefix_tokens", 0) :]
        if patches.shape[1] == rows * columns:
            return patches.transpose(1, 2).reshape(1, -1, rows, columns)
    raise InputError(
        f"{type(model).__name__} gives no map of features to draw; leave --saliency out"
    )
