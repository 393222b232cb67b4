"""The published MRM names, there and back."""

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

DECODER_BIAS = "bert_encoder.model.cls.predictions.decoder.bias"
POOLER = "bert_encoder.model.bert.pooler.dense."


def export_mrm(model: MRM) -> dict[str, Tensor]:
    """The model's state under the names of the published MRM checkpoint.

    A tied word matrix is written twice, as is the head's bias; the pooler, which nothing reads, is
    zeros.
    """
    state = {k: v.detach() for k, v in model.state_dict().items()}
    exported = {published_name(k): v for k, v in state.items()}
    if model.report_decoder is not None:
        words = model.report_decoder.word_weights.detach()
        exported[published_name("report_decoder.decoder")] = words
        exported[DECODER_BIAS] = state["report_decoder.bias"]
        width = words.shape[1]
        exported[f"{POOLER}weight"] = torch.zeros(width, width)
        exported[f"{POOLER}bias"] = torch.zeros(width)
    return exported


def published_name(name: str) -> str:
    prefix = next(p for p in PUBLISHED if name.startswith(p))
    return PUBLISHED[prefix] + name.removeprefix(prefix)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state under our names, without the pooler and the head's second bias."""
    back = {theirs: ours for ours, theirs in PUBLISHED.items()}
    return {
        back[p] + name.removeprefix(p): tensor
        for name, tensor in state.items()
        if name != DECODER_BIAS and not name.startswith(POOLER)
        for p in [next(p for p in back if name.startswith(p))]
    }
