"""MRM, masked record modeling: an encoder that sees a quarter of an image, and what it must answer.

Zhou et al., "Advancing Radiograph Representation Learning with Masked Record Modeling", ICLR 2023.
Attention does not mind the order of its tokens: visible patches come first, hidden ones last, so
that what is predicted is a slice and nothing is ever put back in order.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from radlearn.models.attention import choose_attention
from radlearn.models.backbone import BackboneConfig, build_encoder
from radlearn.models.report_decoder import ReportDecoder, ReportDecoderConfig
from radlearn.models.start import sine_cosine_positions, start_as_mae


@dataclass(frozen=True)
class ImageDecoderConfig:
    """Widths of the image decoder; the defaults are the paper's.

    Attributes:
        scale: side of the rebuilt image over the side of what the encoder sees.
    """

    width: int = 768
    layers: int = 4
    heads: int = 6
    scale: int = 2


@dataclass(frozen=True)
class MRMConfig:
    """What an MRM is made of.

    Attributes:
        image_decoder: None where only reports are to be modeled.
        report_decoder: None where only images are: a masked autoencoder (MAE).
    """

    backbone: BackboneConfig
    image_decoder: ImageDecoderConfig | None = field(default_factory=ImageDecoderConfig)
    report_decoder: ReportDecoderConfig | None = field(default_factory=ReportDecoderConfig)


SIZES: dict[str, MRMConfig] = {
    "tiny": MRMConfig(
        BackboneConfig("vit_tiny_patch16_224", {"depth": 6}),
        ImageDecoderConfig(width=128, layers=2, heads=4),
        ReportDecoderConfig(width=128, layers=2, heads=4, mlp=512),
    ),
    "small": MRMConfig(
        BackboneConfig("vit_small_patch16_224"),
        ImageDecoderConfig(width=256, layers=3, heads=4),
        ReportDecoderConfig(width=256, layers=3, heads=4, mlp=1024),
    ),
    "base": MRMConfig(BackboneConfig("vit_base_patch16_224")),
}


def sized_for(backbone: BackboneConfig) -> MRMConfig:
    """The decoders of the largest size whose encoder is no wider than this timm ViT.

    Raises:
        InputError: timm has no such ViT.
    """
    widths = {name: size.backbone.width for name, size in SIZES.items()}
    fitting = [name for name, width in widths.items() if width <= backbone.width] or ["tiny"]
    return replace(SIZES[max(fitting, key=widths.__getitem__)], backbone=backbone)


class Masking(NamedTuple):
    """Which patches of each image are seen and which are hidden, as indices row by row."""

    visible: Int64[Tensor, "batch visible"]
    hidden: Int64[Tensor, "batch hidden"]


def mask_patches(noise: Float[Tensor, "batch patches"], ratio: float) -> Masking:
    """Rank uniform noise: the patches of lowest noise stay, a share of 1 - ratio rounded down."""
    order = noise.argsort(dim=1, stable=True)
    return Masking(*order.tensor_split([int(noise.shape[1] * (1 - ratio))], dim=1))


def patches(
    images: Float[Tensor, "batch channels height width"], side: int
) -> Float[Tensor, "batch patches values"]:
    """Squares of `side` pixels, row by row; a square's values go by row, column, channel."""
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, height // side, side, width // side, side)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, side * side * channels)


def hidden_patches(
    images: Float[Tensor, "batch channels height width"], side: int, masking: Masking
) -> Float[Tensor, "batch hidden values"]:
    """What `ImageDecoder` should answer: the hidden patches, in the order of `masking.hidden`."""
    return _taken(patches(images, side), masking.hidden)


class ImageDecoder(nn.Module):
    """Paints the hidden patches from the encoder's tokens."""

    def __init__(self, config: ImageDecoderConfig, encoder: VisionTransformer) -> None:
        super().__init__()
        self.config = config
        self.side = encoder.patch_embed.patch_size[0] * config.scale
        self.embed = nn.Linear(encoder.embed_dim, config.width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.width))
        rows, columns = encoder.patch_embed.grid_size
        self.positions = nn.Parameter(
            sine_cosine_positions(config.width, rows, columns, encoder.num_prefix_tokens),
            requires_grad=False,
        )
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential(
            *(
                Block(config.width, config.heads, qkv_bias=True, norm_layer=norm)
                for _ in range(config.layers)
            )
        )
        self.norm = norm(config.width)
        self.predict = nn.Linear(config.width, self.side**2 * encoder.in_chans)
        start_as_mae(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, latent: Float[Tensor, "batch tokens features"], masking: Masking
    ) -> Float[Tensor, "batch hidden values"]:
        """The hidden patches, in the order of `masking.hidden`."""
        *others, last = self.blocks
        assert isinstance(last, Block)
        x = self._tokens(latent, masking)
        for block in others:
            x = block(x)
        # the visible patches have been attended to: nobody needs what the last MLP makes of them
        x = (x + last.attn(last.norm1(x)))[:, latent.shape[1] :]
        return self.predict(self.norm(x + last.mlp(last.norm2(x))))

    def every_patch(
        self, latent: Float[Tensor, "batch tokens features"], masking: Masking
    ) -> Float[Tensor, "batch patches values"]:
        """All patches, hidden or seen, row by row: for looking at."""
        prefix = latent.shape[1] - masking.visible.shape[1]
        values = self.predict(self.norm(self.blocks(self._tokens(latent, masking))[:, prefix:]))
        return _taken(values, torch.cat(masking, 1).argsort(1))

    def _tokens(self, latent: Tensor, masking: Masking) -> Tensor:
        choose_attention(self.blocks, latent.device)
        batch, prefix = len(latent), latent.shape[1] - masking.visible.shape[1]
        first, grid = self.positions.split([prefix, self.positions.shape[1] - prefix], dim=1)
        places = _taken(grid.expand(batch, -1, -1), torch.cat(masking, 1))
        hidden = self.mask_token.expand(batch, masking.hidden.shape[1], -1)
        x = torch.cat([self.embed(latent), hidden.to(latent.dtype)], 1)
        return x + torch.cat([first.expand(batch, -1, -1), places], 1)


class MRM(nn.Module):
    """The networks of masked record modeling; `pretraining.terms` makes the losses of them."""

    def __init__(self, config: MRMConfig) -> None:
        super().__init__()
        self._config = config
        self.encoder = build_encoder(config.backbone)
        self.image_decoder = (
            ImageDecoder(config.image_decoder, self.encoder) if config.image_decoder else None
        )
        self.report_decoder = (
            ReportDecoder(config.report_decoder, self.encoder.embed_dim)
            if config.report_decoder
            else None
        )

    @property
    def config(self) -> MRMConfig:
        """What it is made of; an import may have untied the report decoder's word matrices."""
        report = self.report_decoder.config if self.report_decoder else None
        return replace(self._config, report_decoder=report)

    @property
    def image_size(self) -> int:
        """Side of what the encoder sees, pixels."""
        return self.encoder.patch_embed.img_size[0]

    @property
    def target_size(self) -> int:
        """Side of the image that is rebuilt, pixels; what a batch brings."""
        scale = self.image_decoder.config.scale if self.image_decoder else 1
        return self.image_size * scale

    @property
    def patch_count(self) -> int:
        return self.encoder.patch_embed.num_patches

    def encode(
        self, images: Float[Tensor, "batch channels height width"], masking: Masking
    ) -> Float[Tensor, "batch tokens features"]:
        """Tokens of the class (and registers) and of the visible patches, after the last norm."""
        encoder = self.encoder
        choose_attention(encoder.blocks, images.device)
        x = encoder._pos_embed(encoder.patch_embed(images))
        prefix = encoder.num_prefix_tokens
        x = torch.cat([x[:, :prefix], _taken(x[:, prefix:], masking.visible)], 1)
        return encoder.norm(encoder.blocks(encoder.norm_pre(x)))

    def summary(
        self, latent: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch width"]:
        """z of the report decoder: what the patch tokens say, the class token left out."""
        assert self.report_decoder is not None
        return self.report_decoder.summary(latent[:, self.encoder.num_prefix_tokens :])


def _taken(
    tokens: Float[Tensor, "batch all width"], index: Int64[Tensor, "batch some"]
) -> Float[Tensor, "batch some width"]:
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
