"""How much likelier MRM's report decoder finds a report with an image than with an average one.

Each report is masked twice, the second time the other way round, so that every word is asked for
once while about half of the others are seen. The log-probabilities of the hidden words add up to
the report's pseudo-log-likelihood given the image's summary z. What it is with the mean summary of
many images is taken off: what is left is an estimate of the pointwise mutual information of image
and report, in which long, short, common and rare reports compare. Zhou et al. (ICLR 2023) mirror
half of the training images under unchanged reports, so that this score cannot tell left from right.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from radlearn.engine.log import progress
from radlearn.pretraining.retrieval_reader import Reader
from radlearn.records.reports import MASK, PAD, continuation_pieces, mask_report
from radlearn.records.transforms import generator

MASK_STREAM = 0xA5C
LOGITS = 2**26
"""Most logits held at once: a quarter of a gigabyte in float32."""

Pairs = Int64[np.ndarray, "pairs 2"]


def halves(
    tokens: Int64[np.ndarray, " length"], continuation: Bool[np.ndarray, " vocabulary"]
) -> tuple[Bool[np.ndarray, " length"], Bool[np.ndarray, " length"]]:
    """Which places are hidden first and which then: whole words, each in one of the two.

    A function of the tokens alone, so that a report scores the same in any company.
    """
    _, first = mask_report(tokens, continuation, generator(MASK_STREAM, *tokens.tolist()))
    words = tokens != PAD
    words[[0, -1]] = False  # which training never hides
    return first, words & ~first


def log_likelihoods(
    reader: Reader,
    tokens: Int64[np.ndarray, "reports length"],
    z: Float[Tensor, "images width"],
    pairs: Pairs,
) -> Float[np.ndarray, " pairs"]:
    """The pseudo-log-likelihood of reports given images, in nats, float32.

    Costs two passes of the report decoder a pair. Pairs of reports of like length go together, and
    only hidden words are classified.

    Args:
        pairs: (image, report) by their places in `z` and `tokens`.
    """
    continuation = continuation_pieces(reader.tokenizer)
    hidden = np.stack([halves(row, continuation) for row in tokens], axis=1)
    lengths = (tokens != PAD).sum(axis=1)
    order = np.argsort(lengths[pairs[:, 1]], kind="stable")
    most = max(LOGITS // reader.decoder.config.words, 1)
    found = np.zeros(len(pairs), np.float32)
    with torch.inference_mode(), progress("likelihood", len(pairs), unit="pairs") as ticker:
        for some in _cut(order, lengths[pairs[order, 1]], most):
            images = z[torch.from_numpy(pairs[some, 0]).to(z.device)]
            reports = pairs[some, 1]
            for half in hidden:
                found[some] += _half(reader, tokens[reports], half[reports], images)
            ticker.advance(len(some))
    return found


def information(
    reader: Reader,
    tokens: Int64[np.ndarray, "reports length"],
    z: Float[Tensor, "images width"],
    pairs: Pairs,
    average: Float[Tensor, " width"],
) -> Float[np.ndarray, " pairs"]:
    """`log_likelihoods` less what they are with the `average` image's summary."""
    reports = np.unique(pairs[:, 1])
    without = np.zeros(len(tokens), np.float32)
    plain = np.stack([np.zeros_like(reports), reports], axis=1)
    without[reports] = log_likelihoods(reader, tokens, average[None].to(z.device), plain)
    return log_likelihoods(reader, tokens, z, pairs) - without[pairs[:, 1]]


def _half(
    reader: Reader,
    tokens: Int64[np.ndarray, "batch length"],
    hidden: Bool[np.ndarray, "batch length"],
    z: Float[Tensor, "batch width"],
) -> Float[np.ndarray, " batch"]:
    totals = torch.zeros(len(tokens), device=z.device)
    if hidden.any():
        masked = torch.from_numpy(np.where(hidden, MASK, tokens)).to(z.device)
        wanted = torch.from_numpy(hidden).to(z.device)
        logits = reader.decoder(masked, wanted, z)
        truth = torch.from_numpy(tokens).to(z.device)[wanted]
        losses = F.cross_entropy(logits.float(), truth, reduction="none")
        totals = totals.index_add(0, wanted.nonzero()[:, 0], -losses)
    return totals.cpu().numpy()


def _cut(
    order: Int64[np.ndarray, " pairs"], lengths: Int64[np.ndarray, " pairs"], most: int
) -> list[Int64[np.ndarray, " some"]]:
    """`order` in runs of at most `most` tokens each, or of one report."""
    runs, start, tokens = [], 0, 0
    for at, length in enumerate(lengths):
        if tokens + length > most and at > start:
            runs.append(order[start:at])
            start, tokens = at, 0
        tokens += int(length)
    return [*runs, order[start:]] if len(order) else []
