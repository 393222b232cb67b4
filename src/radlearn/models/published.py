"""The names of MRM's and MAE's published checkpoints and ours, both ways."""

from collections.abc import Mapping

import torch
from torch import Tensor

from radlearn.models.mrm import MRM

PUBLISHED = {
    "image_decoder.mask_token": "mask_token",
    "image_decoder.positions": "decoder_pos_embed",
    "image_decoder.embed.": "decoder_embed.",
    "image_decoder.blocks.": "decoder_blocks.",
    "image_decoder.norm.": "decoder_norm.",
    "image_decoder.predict.": "decoder_pred.",
    "report_decoder.embeddings.": "bert_encoder.model.bert.embeddings.",
    "report_decoder.layers.": "bert_encoder.model.bert.encoder.layer.",
    "report_decoder.transform.": "bert_encoder.model.cls.predictions.transform.",
    "report_decoder.bias": "bert_encoder.model.cls.predictions.bias",
    "report_decoder.decoder": "bert_encoder.model.cls.predictions.decoder.weight",
    "report_decoder.project.": "bert_mlp.",
    "encoder.": "",
}
"""Our prefixes and those of MRM's and MAE's checkpoints; looked up in this order."""

HEAD_BIAS = "bert_encoder.model.cls.predictions.bias"
DECODER_BIAS = "bert_encoder.model.cls.predictions.decoder.bias"
POOLER = "bert_encoder.model.bert.pooler.dense."
WORDS = "report_decoder.embeddings.word_embeddings.weight"


def published_name(name: str) -> str:
    """The name in MRM's checkpoint of a parameter of `MRM`."""
    prefix = next(p for p in PUBLISHED if name.startswith(p))
    return PUBLISHED[prefix] + name.removeprefix(prefix)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state under our names, without the pooler and the head's second bias."""
    back = {theirs: ours for ours, theirs in PUBLISHED.items()}
    renamed = {}
    for name, tensor in state.items():
        if name != DECODER_BIAS and not name.startswith(POOLER):
            prefix = next(p for p in back if name.startswith(p))
            renamed[back[prefix] + name.removeprefix(prefix)] = tensor
    return renamed


def unread(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a published MRM holds that nothing reads: the pooler, the head's second bias."""
    return {k: v for k, v in state.items() if k == DECODER_BIAS or k.startswith(POOLER)}


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of `MRM`, or of parts of it, under the names of the published checkpoints.

    A tied word matrix is written twice, as is the head's bias; the pooler, which nothing reads, is
    zeros.
    """
    exported = {published_name(k): v.detach() for k, v in state.items()}
    if WORDS in state:
        words = state[WORDS].detach()
        exported.setdefault(published_name("report_decoder.decoder"), words)
        exported[DECODER_BIAS] = exported[HEAD_BIAS]
        width = words.shape[1]
        exported[f"{POOLER}weight"] = torch.zeros(width, width)
        exported[f"{POOLER}bias"] = torch.zeros(width)
    return exported


def export_mrm(model: MRM) -> dict[str, Tensor]:
    """The model's state under the names of the published MRM checkpoint; see `to_published`."""
    return to_published(model.state_dict())
