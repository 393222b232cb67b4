"""The loss of masked record modeling: L = L_image + L_report (Zhou et al. 2023, equation 1)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from radlearn.engine.shares import Places, Told
from radlearn.models.mrm import MRM, hidden_patches, mask_patches
from radlearn.records.transforms import Preprocessing, normalised


@dataclass(frozen=True)
class Objective:
    """What is asked of the model.

    Attributes:
        preprocessing: mean and std that images are normalised with.
        mask_ratio: share of the patches that is hidden.
        normalise_patches: each target patch by its own mean and variance.
        report_loss: "masked" is the paper's; "all" is the authors' code: every position counts,
            padding and visible words included.
    """

    preprocessing: Preprocessing
    mask_ratio: float = 0.75
    normalise_patches: bool = True
    report_loss: Literal["masked", "all"] = "masked"
    image_weight: float = 1.0
    report_weight: float = 1.0


def pretraining_terms(
    model: MRM, batch: Mapping[str, Tensor], objective: Objective
) -> dict[str, Tensor]:
    """Named terms of the loss of one batch, each a float32 scalar.

    A record without report trains the image alone; one without image is read with z = 0. A term is
    absent where no record of the batch, or no decoder of the model, has what it needs. Even then
    every trainable parameter gets a gradient, of zeros where it took no part, so that replicas
    that drew different records average the same parameters; with no term at all there is none.

    Args:
        batch: "image" (B, 1, S, S) grey values 0 to 255 at the model's `target_size`, "noise" (B,
            patches) uniform, "tokens" and "masked_tokens" (B, L), "hidden" (B, L) true where a
            word is to be said, "has_image" and "has_report" (B,). A model without report decoder
            needs none of the reports' entries.
    """
    terms: dict[str, Tensor] = {}
    pictured = batch["has_image"].nonzero().squeeze(1)
    z, complete = None, len(pictured) > 0

    if len(pictured):
        grey = batch["image"][pictured].float()
        target = normalised(grey, objective.preprocessing)
        seen = normalised(shrunk(grey, model.image_size), objective.preprocessing)
        masking = mask_patches(batch["noise"][pictured], objective.mask_ratio)
        latent = model.encode(seen, masking)
        if model.image_decoder is not None:
            rebuilt = model.image_decoder(latent, masking)
            truth = hidden_patches(target, model.image_decoder.side, masking)
            loss = image_loss(rebuilt, truth, objective.normalise_patches)
            terms["image"] = objective.image_weight * loss
        if model.report_decoder is not None:
            z = model.summary(latent)

    if model.report_decoder is not None:
        reported = batch["has_report"].nonzero().squeeze(1)
        complete = complete and len(reported) > 0
        if len(reported):
            tokens, masked = batch["tokens"][reported], batch["masked_tokens"][reported]
            wanted = batch["hidden"][reported]
            if objective.report_loss == "all":
                wanted = torch.ones_like(wanted)
            of_image = _of_reports(z, pictured, reported)
            longest = int(batch.get("longest", 0))
            logits = model.report_decoder(masked, wanted, of_image, longest)
            terms["report"] = objective.report_weight * report_loss(logits, tokens[wanted])

    if terms and not complete:
        name = next(iter(terms))
        terms[name] = terms[name] + _nothing(model.parameters())
    return terms


def told_of(batch: Mapping[str, Tensor], objective: Objective) -> Told:
    """What one of several processes says of its part of a batch: images, and words to be said.

    The dropout of the report decoder is drawn for reports, for their words, and for those said.
    """
    real = batch["rows"] >= 0
    said = batch["hidden"]
    if objective.report_loss == "all":
        said = torch.ones_like(said)
    reads = batch["has_report"]
    words, told = (
        (places.sum(1) * reads).numpy() for places in ((batch["masked_tokens"] != 0) | said, said)
    )
    entries = {
        "image": int((batch["has_image"] & real).sum()),
        "report": int((torch.from_numpy(told) * real).sum()),
    }
    places = Places(reads.long().numpy(), (3, 4)), Places(words, (2,)), Places(told, (2,))
    return Told(entries, places)


def image_loss(
    rebuilt: Float[Tensor, "batch hidden values"],
    truth: Float[Tensor, "batch hidden values"],
    normalise: bool,
) -> Float[Tensor, ""]:
    """Mean squared error over hidden patches, in float32.

    Args:
        normalise: compare with (truth - mean) / sqrt(variance + 1e-6) of each patch, the variance
            unbiased.
    """
    truth = truth.float()
    if normalise:
        variance, mean = torch.var_mean(truth, dim=-1, keepdim=True)
        truth = (truth - mean) / (variance + 1e-6).sqrt()
    return F.mse_loss(rebuilt.float(), truth)


def report_loss(
    logits: Float[Tensor, "places words"], truth: Int64[Tensor, " places"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the places, in float32; 0 where there is none."""
    return F.cross_entropy(logits.float(), truth, reduction="sum") / max(len(truth), 1)


def shrunk(
    images: Float[Tensor, "batch channels height width"], side: int
) -> Float[Tensor, "batch channels {side} {side}"]:
    """Bicubic without antialiasing, as the authors' torchvision makes the encoder's input."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)


def _of_reports(
    z: Float[Tensor, "pictured width"] | None,
    pictured: Int64[Tensor, " pictured"],
    reported: Int64[Tensor, " reported"],
) -> Float[Tensor, "reported width"] | None:
    """The image's summary of each report's record, zero where it has no image; None
    where no record of the batch has one."""
    if z is None:
        return None
    count = int(torch.cat([pictured, reported]).max()) + 1
    return z.new_zeros(count, z.shape[1]).index_copy(0, pictured, z)[reported]


def _nothing(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """0 with a gradient of zeros for every trainable parameter, but for what is sharded."""
    plain = (p for p in parameters if p.requires_grad and type(p) is nn.Parameter)
    return sum((p.flatten()[0].float() for p in plain), torch.tensor(0.0)) * 0
