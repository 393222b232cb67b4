"""UPerNet on a timm backbone: feature maps at four scales in, a logit a class and pixel out.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, on a ViT as MRM (Zhou
et al., ICLR 2023) and BEiT have it: features after a third, a half, two thirds and all of the
blocks, rescaled by 4, 2, 1 and 1/2. The head and the auxiliary head are those of `transformers`.

Batch norm is swapped for group norm. The published runs normalise over 16 images on 8 devices;
over the few images of one small device batch norm's statistics are noise (over one image, the
pooled 1 x 1 map cannot be normalised at all), and training and evaluation differ.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import LayerNorm2d
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from transformers.models.upernet.configuration_upernet import UperNetConfig
from transformers.models.upernet.modeling_upernet import (
    UperNetConvModule,
    UperNetFCNHead,
    UperNetHead,
)

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, build_encoder

LEVELS = 4
DEPTHS = (1 / 3, 1 / 2, 2 / 3, 1)
"""Of a ViT's blocks: of twelve the 4th, 6th, 8th and last."""
GROUP = 16
"""Channels of a group, at least: of 1 x 1 maps a group of few would have nothing left to say."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm (Wu and He, 2018) of at most 32 groups of `GROUP` channels or a multiple of it."""
    groups = math.gcd(channels // GROUP, 32) if channels % GROUP == 0 else 1
    return nn.GroupNorm(groups, channels)


class Levels:
    """Where in a timm backbone its four feature maps are, their channels and whether to rescale.

    Attributes:
        indices: of `forward_intermediates`, ascending, no two the same.
        at: for each level the place in `indices`; a ViT of under four blocks gives some twice.
        channels: of each level.
        plain: all maps have one stride (a ViT), so that they have to be rescaled.
    """

    def __init__(self, backbone: nn.Module) -> None:
        """Raises InputError where the model gives no feature maps, or only some."""
        info = getattr(backbone, "feature_info", None)
        if not info or not hasattr(backbone, "forward_intermediates"):
            raise InputError(
                f"{type(backbone).__name__} gives no feature maps to segment with; choose a ViT, "
                "Swin or ConvNeXt of timm's"
            )
        strides = [one["reduction"] for one in info]
        self.plain = len(set(strides)) == 1
        if self.plain:
            wanted = [max(round(share * len(info)), 1) - 1 for share in DEPTHS]
        elif len(info) >= LEVELS and all(a < b for a, b in pairwise(strides[-LEVELS:])):
            wanted = list(range(len(info) - LEVELS, len(info)))
        else:
            raise InputError(
                f"{type(backbone).__name__} has feature maps of strides {strides}, and UPerNet "
                "needs four, each coarser than the one before; choose a ViT, Swin or ConvNeXt"
            )
        self.indices = sorted(set(wanted))
        self.at = [self.indices.index(one) for one in wanted]
        self.channels = [int(info[one]["num_chs"]) for one in wanted]


class Pyramid(nn.Module):
    """Maps of one stride brought to four: by 4, 2, 1 and 1/2, learnt but for the last."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        four, two, _, _ = channels
        self.scales = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(four, four, 2, 2),
                    group_norm(four),
                    nn.GELU(),
                    nn.ConvTranspose2d(four, four, 2, 2),
                ),
                nn.ConvTranspose2d(two, two, 2, 2),
                nn.Identity(),
                nn.MaxPool2d(2, 2, ceil_mode=True),
            ]
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [scale(one) for scale, one in zip(self.scales, maps, strict=True)]


class Decoder(nn.Module):
    """All that is not the backbone: the pyramid, UPerNet's head and its auxiliary head.

    A backbone of stages has each stage's map normalised first, as Swin and ConvNeXt do for it.
    """

    def __init__(self, levels: Levels, outputs: int, width: int) -> None:
        super().__init__()
        channels = levels.channels
        self.neck = Pyramid(channels) if levels.plain else nn.ModuleList(map(LayerNorm2d, channels))
        config = UperNetConfig(
            hidden_size=width,
            auxiliary_channels=max(width // 2, 2),
            auxiliary_in_channels=channels[2],
        )
        config.num_labels = outputs
        self.head = UperNetHead(config, channels)
        self.auxiliary = UperNetFCNHead(config, channels)
        for module in self.modules():
            if isinstance(module, UperNetConvModule):
                module.add_module("batch_norm", group_norm(module.conv.out_channels))
        for head in (self.head, self.auxiliary):
            nn.init.normal_(head.classifier.weight, std=0.01)
            assert head.classifier.bias is not None
            nn.init.zeros_(head.classifier.bias)

    def maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The backbone's maps as the heads take them, finest first."""
        if isinstance(self.neck, nn.ModuleList):
            return [norm(one) for norm, one in zip(self.neck, features, strict=True)]
        return self.neck(features)


class Segmenter(nn.Module):
    """A timm backbone under its own names, `backbone`, and what is trained on it, `decoder`.

    Attributes:
        outputs: 1 for one class (sigmoid), classes and background for more (softmax).
    """

    def __init__(self, backbone: nn.Module, classes: int, width: int) -> None:
        """Raises InputError where the backbone has no four feature maps."""
        super().__init__()
        self.outputs = 1 if classes == 1 else classes + 1
        self.backbone = backbone
        self.levels = Levels(backbone)
        self.decoder = Decoder(self.levels, self.outputs, width)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch outputs height width"]:
        """Logits; of several classes the background's first."""
        return self._upsampled(self.decoder.head(self._maps(images)), images)

    def with_auxiliary(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[
        Float[Tensor, "batch outputs height width"], Float[Tensor, "batch outputs height width"]
    ]:
        """Logits, and those of the auxiliary head, which helps training alone."""
        maps = self._maps(images)
        heads = (self.decoder.head, self.decoder.auxiliary)
        logits, auxiliary = (self._upsampled(head(maps), images) for head in heads)
        return logits, auxiliary

    def _maps(self, images: Tensor) -> list[Tensor]:
        return self.decoder.maps(multi_scale(self.backbone, images, self.levels))

    @staticmethod
    def _upsampled(logits: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(
            logits.float(), size=images.shape[-2:], mode="bilinear", align_corners=False
        )


def multi_scale(
    backbone: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    levels: Levels,
) -> list[Tensor]:
    """Four maps (B, C, H, W) of the backbone: stages as they are, a ViT's all of one stride."""
    found: list[Tensor] = backbone.forward_intermediates(  # type: ignore[operator]
        images, indices=levels.indices, intermediates_only=True
    )
    return [found[at] for at in levels.at]


def build_segmenter(
    config: BackboneConfig, classes: int, width: int = 128, drop_path: float = 0.0
) -> Segmenter:
    """A segmenter that starts at random: a ViT as masked autoencoders start, others as timm does.

    Args:
        classes: without the background.
        width: channels inside the decoder; the published one has 512.
        drop_path: rate of the last block's stochastic depth, growing linearly from the first.

    Raises:
        InputError: no such model, one without four feature maps, or no class to learn.
    """
    if classes < 1:
        raise InputError("there is no class to segment; prepare a store whose masks name one")
    more = {"drop_path_rate": drop_path}  # not left to timm: its Swin has one of its own
    backbone = config.create(num_classes=0, **more)
    if isinstance(backbone, VisionTransformer):
        backbone = config.create(num_classes=0, global_pool="avg", fc_norm=False, **more)
        backbone.load_state_dict(build_encoder(config).state_dict())
    return Segmenter(backbone, classes, width)
