"""What stands between a backbone's last features and its logits, in every family of timm's."""

from typing import Any

import torch
from jaxtyping import Float
from timm.layers import ClassifierHead, NormMlpClassifierHead
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def classifier(model: Any) -> nn.Linear:
    """The linear layer that gives the logits."""
    return model.get_classifier()


def head_norm(model: Any) -> nn.LayerNorm | None:
    """The norm between pooling and `classifier`: a ViT's `fc_norm`, a ConvNeXt's `head.norm`.

    A Swin, and a backbone that norms before it pools, has none.
    """
    owner, name = (model.head, "norm") if _pools_in_head(model) else (model, "fc_norm")
    norm = getattr(owner, name, None)
    return norm if isinstance(norm, nn.LayerNorm) else None


def has_plain_head(model: Any) -> bool:
    """Whether the head is a pooling, a norm or none, and one linear layer; see `pooled`."""
    if isinstance(model, VisionTransformer | Eva):
        plain = model.attn_pool is None and isinstance(model.fc_norm, nn.LayerNorm | nn.Identity)
        return plain and isinstance(model.head, nn.Linear)
    if not _pools_in_head(model) or not isinstance(classifier(model), nn.Linear):
        return False
    normed = isinstance(getattr(model.head, "norm", None), nn.LayerNorm | nn.Identity | None)
    return normed and isinstance(getattr(model.head, "pre_logits", nn.Identity()), nn.Identity)


def pooled(model: Any, features: Tensor) -> Float[Tensor, "batch width"]:
    """What `forward_features` gave, pooled as a plain head does: what `head_logits` takes."""
    if not _pools_in_head(model):
        return model.pool(features)
    return model.head.global_pool(features).flatten(1)


def head_logits(model: Any, features: Float[Tensor, "batch width"]) -> Tensor:
    """The logits of pooled features of a model whose head is plain."""
    if not _pools_in_head(model):
        return model.head(model.head_drop(model.fc_norm(features)))
    norm = head_norm(model)
    normed = features if norm is None else _over_channels(norm, features)
    return model.head.fc(model.head.drop(normed))


def standardise(model: Any, features: Float[Tensor, "records width"]) -> None:
    """Start the norm of the head so that these features leave it with mean 0 and deviation 1.

    Features of a pretrained backbone differ little between images, compared with what they share; a
    head that does not know it spends its few steps on that. The model stays the same plain timm
    model. Where the head has no norm (Swin), nothing is done.

    Args:
        features: of `pooled`.
    """
    norm = head_norm(model)
    if norm is None:
        return
    with torch.no_grad():
        seen = nn.functional.layer_norm(features.double(), norm.normalized_shape, eps=norm.eps)
        deviation, mean = torch.std_mean(seen, dim=0, correction=0)
        scale = 1 / deviation.clamp(min=0.1 * float(deviation.mean()) + 1e-6)
        norm.weight.copy_(scale)
        norm.bias.copy_(-mean * scale)


def _pools_in_head(model: Any) -> bool:
    return isinstance(getattr(model, "head", None), ClassifierHead | NormMlpClassifierHead)


def _over_channels(norm: nn.LayerNorm, features: Float[Tensor, "batch width"]) -> Tensor:
    """timm's LayerNorm2d norms (B, C, 1, 1) over C, as this does (B, C)."""
    return nn.functional.layer_norm(
        features, norm.normalized_shape, norm.weight, norm.bias, norm.eps
    )
