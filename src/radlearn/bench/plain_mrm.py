"""MRM's step in its plain form: all patches decoded, padding read, every word classified."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from radlearn.models.mrm import MRM, mask_patches, patches
from radlearn.models.report_decoder import PADDING, ReportDecoder
from radlearn.pretraining.terms import Objective, shrunk
from radlearn.records.transforms import normalised


def plain_attention(model: nn.Module) -> None:
    """Let timm's blocks compute attention by matrix products, as the papers' code does."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]


def plain_loss(model: MRM, batch: Mapping[str, Tensor], objective: Objective) -> Float[Tensor, ""]:
    """The sum of `pretraining_terms`, of records that all have an image and a report.

    The authors' way: every patch is predicted and the seen ones' errors are thrown away, and every
    place of the padded report is classified, of which the loss takes what it is about.
    """
    assert model.image_decoder is not None and model.report_decoder is not None
    grey = batch["image"].float()
    target = normalised(grey, objective.preprocessing)
    seen = normalised(shrunk(grey, model.image_size), objective.preprocessing)
    masking = mask_patches(batch["noise"], objective.mask_ratio)
    latent = _encoded(model, seen, masking.visible)
    rebuilt = _every_patch(model.image_decoder, latent, masking)
    truth = patches(target, model.image_decoder.side)
    variance, mean = torch.var_mean(truth, dim=-1, keepdim=True)
    errors = ((truth - mean) / (variance + 1e-6).sqrt() - rebuilt).square().mean(-1)
    hidden = torch.zeros_like(errors).scatter_(1, masking.hidden, 1.0)
    image = (errors * hidden).sum() / hidden.sum()

    wanted = batch["hidden"]
    if objective.report_loss == "all":
        wanted = torch.ones_like(wanted)
    logits = every_word(model.report_decoder, batch["masked_tokens"], model.summary(latent))
    words = torch.where(wanted, batch["tokens"], -100)
    report = F.cross_entropy(logits.flatten(0, 1), words.flatten())
    return objective.image_weight * image + objective.report_weight * report


def every_word(
    decoder: ReportDecoder, tokens: Tensor, z: Tensor
) -> Float[Tensor, "b length words"]:
    """Logits at every place of every report, padding included."""
    x = decoder.embeddings(tokens) + z[:, None]
    real = tokens != PADDING
    for layer in decoder.layers:
        x = _layer(layer, x, real)
    return F.linear(decoder.transform(x), decoder.word_weights, decoder.bias)


def _encoded(model: MRM, images: Tensor, visible: Tensor) -> Tensor:
    encoder = model.encoder
    x = encoder.patch_embed(images)
    positions, token = encoder.pos_embed, encoder.cls_token
    assert positions is not None and token is not None
    x = x + positions[:, 1:]
    x = x.gather(1, visible[:, :, None].expand(-1, -1, x.shape[2]))
    first = (token + positions[:, :1]).expand(len(x), -1, -1)
    return encoder.norm(encoder.blocks(torch.cat([first, x], 1)))


def _every_patch(decoder: Any, latent: Tensor, masking: Any) -> Tensor:
    x = decoder.embed(latent)
    hidden = decoder.mask_token.expand(len(x), masking.hidden.shape[1], -1)
    order = torch.cat(masking, 1).argsort(1)
    grid = torch.cat([x[:, 1:], hidden], 1)
    grid = grid.gather(1, order[:, :, None].expand(-1, -1, grid.shape[2]))
    x = torch.cat([x[:, :1], grid], 1) + decoder.positions
    return decoder.predict(decoder.norm(decoder.blocks(x)))[:, 1:]


def _layer(layer: Any, x: Tensor, real: Bool[Tensor, "batch length"]) -> Tensor:
    attention = layer.attention.self
    batch, length, width = x.shape
    heads = attention.num_attention_heads

    def split(projection: nn.Linear) -> Tensor:
        return projection(x).view(batch, length, heads, -1).transpose(1, 2)

    query, key, value = map(split, (attention.query, attention.key, attention.value))
    scores = query @ key.transpose(-2, -1) / (width // heads) ** 0.5
    scores = scores.masked_fill(~real[:, None, None], torch.finfo(scores.dtype).min)
    context = attention.dropout(scores.softmax(-1)) @ value
    x = layer.attention.output(context.transpose(1, 2).reshape(batch, length, width), x)
    return layer.output(layer.intermediate(x), x)
