"""What a finished model draws and writes where it saw nothing: pictures for the run's page."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from radlearn.engine.device import Compute
from radlearn.models.mrm import MRM, mask_patches, patches
from radlearn.pretraining.batches import PretrainBatches
from radlearn.pretraining.terms import Objective, shrunk
from radlearn.records.transforms import normalised
from radlearn.report.page import Word
from radlearn.report.pretraining import Examples, report_words

SHOWN = 8
GREY = 128


def examples(model: MRM, make: PretrainBatches, objective: Objective, compute: Compute) -> Examples:
    """The first records with an image and the first with a report, as the model sees them."""
    model.eval()
    found = Examples()
    with torch.no_grad(), compute.autocast():
        pictured = np.flatnonzero(make.records.has_image)[:SHOWN]
        if model.image_decoder is not None and len(pictured):
            batch = compute.put(make.of(pictured, step=0))
            found = _images(model, batch, objective)
        reported = np.flatnonzero(make.records.has_report)[: SHOWN // 2]
        if model.report_decoder is not None and len(reported):
            batch = compute.put(make.of(reported, step=0))
            found = replace(found, reports=_reports(model, batch, objective, make))
    return found


def _images(model: MRM, batch: dict[str, Tensor], objective: Objective) -> Examples:
    assert model.image_decoder is not None
    side = model.image_decoder.side
    target = normalised(batch["image"], objective.preprocessing)
    masking = mask_patches(batch["noise"], objective.mask_ratio)
    latent = model.encode(shrunk(target, model.image_size), masking)
    drawn = model.image_decoder.every_patch(latent, masking).float()
    truth = patches(target, side)
    if objective.normalise_patches:
        drawn = drawn * (truth.var(-1, keepdim=True) + 1e-6).sqrt() + truth.mean(-1, keepdim=True)
    hidden = torch.zeros(truth.shape[:2], dtype=torch.bool, device=truth.device)
    hidden.scatter_(1, masking.hidden, True)
    channels = target.shape[1]
    grey = batch["image"].float()
    mean, std = objective.preprocessing.averaged.statistics(target)
    whole = _picture(drawn, side, channels) * std + mean
    cover = _picture(hidden[:, :, None].expand_as(truth).float(), side, channels) > 0.5
    rebuilt = torch.where(cover, whole * 255, grey)
    masked = torch.where(cover, torch.full_like(grey, GREY), grey)
    return Examples(_pixels(masked), _pixels(rebuilt), _pixels(grey))


def _picture(values: Tensor, side: int, channels: int) -> Tensor:
    """(batch, patches, values) back to (batch, 1, height, width), its channels averaged."""
    batch, count = values.shape[:2]
    rows = round(count**0.5)
    grid = values.reshape(batch, rows, rows, side, side, channels).mean(-1)
    return grid.permute(0, 1, 3, 2, 4).reshape(batch, 1, rows * side, rows * side)


def _pixels(images: Tensor) -> np.ndarray:
    return images[:, 0].clamp(0, 255).round().to(torch.uint8).cpu().numpy()


def _reports(
    model: MRM, batch: dict[str, Tensor], objective: Objective, make: PretrainBatches
) -> list[tuple[Word, ...]]:
    assert model.report_decoder is not None and make.tokenizer is not None
    z = torch.zeros(len(batch["tokens"]), model.report_decoder.config.width).to(batch["noise"])
    pictured = batch["has_image"].nonzero().squeeze(1)
    if len(pictured):
        target = normalised(batch["image"][pictured], objective.preprocessing)
        masking = mask_patches(batch["noise"][pictured], objective.mask_ratio)
        summary = model.summary(model.encode(shrunk(target, model.image_size), masking))
        z = z.index_copy(0, pictured, summary.float())
    guesses = batch["tokens"].clone()
    hidden = batch["hidden"]
    guesses[hidden] = model.report_decoder(batch["masked_tokens"], hidden, z).argmax(-1)
    rows = []
    for tokens, covered, guess in zip(batch["tokens"], hidden, guesses, strict=True):
        real = int((tokens != 0).sum())
        true_pieces, said = (
            [make.tokenizer.id_to_token(int(token)) or "" for token in row[:real]]
            for row in (tokens, guess)
        )
        rows.append(report_words(true_pieces, covered[:real].tolist(), said))
    return rows
