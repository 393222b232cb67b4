"""The report decoder of MRM: a small BERT that reads a masked report with the image's summary.

Built of transformers' own BERT layers, so that the parameter names are the published ones. Padding
is never computed: token-wise layers run on the real tokens only, side by side in one row.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertLayer,
    BertPredictionHeadTransform,
)

PADDING = 0
"""The token that fills a report up to its length."""


@dataclass(frozen=True)
class ReportDecoderConfig:
    """Widths of the report decoder; the defaults are the paper's.

    Attributes:
        mlp: width inside each layer's MLP.
        words: entries of the tokenizer.
        positions: longest report, in tokens.
        tied: one matrix embeds the words and classifies them, as the paper says; the authors' code,
            and so their checkpoint, has two.
        dropout: of embeddings, attention and layers.
    """

    width: int = 384
    layers: int = 6
    heads: int = 6
    mlp: int = 1536
    words: int = 30000
    positions: int = 100
    tied: bool = True
    dropout: float = 0.1


class ReportDecoder(nn.Module):
    """Says what the hidden words of a report are, given the others and the image's summary z."""

    def __init__(self, config: ReportDecoderConfig, features: int) -> None:
        """
        Args:
            features: width of the encoder whose patch tokens are summarised.
        """
        super().__init__()
        bert = BertConfig(
            vocab_size=config.words,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.mlp,
            max_position_embeddings=config.positions,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            pad_token_id=PADDING,
        )
        self.config = config
        self.embeddings = BertEmbeddings(bert)
        self.layers = nn.ModuleList(BertLayer(bert, layer_idx=i) for i in range(config.layers))
        self.transform = BertPredictionHeadTransform(bert)
        self.bias = nn.Parameter(torch.zeros(config.words))
        self.project = nn.Linear(features, config.width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=bert.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.embeddings.word_embeddings.weight[PADDING] = 0
        self.decoder: nn.Parameter | None = None
        if not config.tied:
            self.untie()

    def untie(self) -> None:
        """Give the head a word matrix of its own, starting from the embedding's values."""
        self.decoder = nn.Parameter(self.embeddings.word_embeddings.weight.detach().clone())
        self.config = replace(self.config, tied=False)

    def summary(
        self, patches: Float[Tensor, "batch patches features"]
    ) -> Float[Tensor, "batch width"]:
        """z: the mean over patch tokens, projected (the same as the projection's mean)."""
        return self.project(patches.mean(1))

    def forward(
        self,
        tokens: Int64[Tensor, "batch length"],
        wanted: Bool[Tensor, "batch length"],
        z: Float[Tensor, "batch width"] | None,
        longest: int = 0,
    ) -> Float[Tensor, "wanted words"]:
        """Logits at the places that are wanted, in the order of `tokens[wanted]`.

        Args:
            tokens: the masked report, padded with `PADDING` at its end.
            wanted: places to classify; no other is carried beyond the last layer's attention.
            z: the image's summary, zero for a report without image; None where none has one.
            longest: tokens of the longest report, where it may be one of another process: dropout
                is drawn for as many.
        """
        real = tokens != PADDING
        kept = real | wanted
        length = max(int(kept.any(0).nonzero().max()) + 1, longest)
        real, kept, wanted = real[:, :length], kept[:, :length], wanted[:, :length]
        x = self.embeddings(tokens[:, :length])
        if z is not None:
            x = x + z[:, None]
        places = kept.flatten().nonzero().squeeze(1)
        x = x.flatten(0, 1)[places]
        last = wanted.flatten()[places].nonzero().squeeze(1)
        for index, layer in enumerate(self.layers):
            x = _layer(layer, x, places, real, last if index + 1 == len(self.layers) else None)
        return F.linear(self.transform(x), self.word_weights, self.bias)

    @property
    def word_weights(self) -> Tensor:
        return self.embeddings.word_embeddings.weight if self.decoder is None else self.decoder


def _layer(
    layer: nn.Module,
    x: Float[Tensor, "tokens width"],
    places: Int64[Tensor, " tokens"],
    real: Bool[Tensor, "batch length"],
    last: Int64[Tensor, " wanted"] | None,
) -> Float[Tensor, "_ width"]:
    """A BERT layer on tokens that stand at `places` of the padded batch; its output at `last`."""
    assert isinstance(layer, BertLayer)
    attention = layer.attention.self
    batch, length = real.shape

    def heads(projection: nn.Linear) -> Tensor:
        y = projection(x)
        if len(places) != batch * length:
            y = y.new_zeros(batch * length, y.shape[1]).index_copy(0, places, y)
        return y.view(batch, length, attention.num_attention_heads, -1).transpose(1, 2)

    context = F.scaled_dot_product_attention(
        heads(attention.query),
        heads(attention.key),
        heads(attention.value),
        attn_mask=real[:, None, None],
        dropout_p=attention.dropout.p if layer.training else 0.0,
    )
    context = context.transpose(1, 2).reshape(batch * length, -1)
    if last is not None:
        places, x = places[last], x[last]
    x = layer.attention.output(context[places], x)
    return layer.output(layer.intermediate(x), x)
