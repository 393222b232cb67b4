"""Masked record modeling: what is left out of the computation changes nothing of the result."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from radlearn.models.backbone import BackboneConfig
from radlearn.models.mrm import (
    MRM,
    SIZES,
    ImageDecoderConfig,
    MRMConfig,
    hidden_patches,
    mask_patches,
    patches,
    sized_for,
)
from radlearn.models.report_decoder import PADDING, ReportDecoderConfig
from radlearn.pretraining.terms import Objective, pretraining_terms, shrunk
from radlearn.records.transforms import Preprocessing

WORDS, LENGTH, SIDE, PATCH, BATCH = 50, 12, 32, 8, 6
TINY = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 24, "depth": 2, "num_heads": 2}
REPORTS = ReportDecoderConfig(
    width=16, layers=2, heads=2, mlp=32, words=WORDS, positions=LENGTH, dropout=0.0
)
CONFIG = MRMConfig(
    BackboneConfig("vit_tiny_patch16_224", TINY),
    ImageDecoderConfig(width=16, layers=2, heads=2, scale=2),
    REPORTS,
)
OBJECTIVE = Objective(Preprocessing(SIDE, 0.5, 0.25))


def model_of(config: MRMConfig = CONFIG, seed: int = 0) -> MRM:
    torch.manual_seed(seed)
    return MRM(config)


def batch_of(model: MRM, batch: int = BATCH, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    side = model.target_size
    tokens = torch.randint(4, WORDS, (batch, LENGTH), generator=rng)
    lengths = torch.randint(3, LENGTH - 1, (batch, 1), generator=rng)
    tokens[torch.arange(LENGTH)[None] >= lengths] = PADDING
    tokens[:, 0] = 2
    hidden = (torch.rand(batch, LENGTH, generator=rng) < 0.5) & (tokens > 3)
    hidden[:, 1] = True
    return {
        "image": torch.randint(0, 256, (batch, 1, side, side), generator=rng, dtype=torch.uint8),
        "noise": torch.rand(batch, model.patch_count, generator=rng),
        "tokens": tokens,
        "masked_tokens": tokens.masked_fill(hidden, 3),
        "hidden": hidden,
        "has_image": torch.ones(batch, dtype=torch.bool),
        "has_report": torch.ones(batch, dtype=torch.bool),
    }


def gradients(model: MRM, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    sum(terms.values()).backward()
    return {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


def trainable(model: MRM) -> set[str]:
    return {k for k, p in model.named_parameters() if p.requires_grad}


def full_terms(model: MRM, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss as first written: every patch painted, every position classified, then chosen."""
    target = (batch["image"].float() / 255 - 0.5).div(0.25).expand(-1, 3, -1, -1)
    masking = mask_patches(batch["noise"], 0.75)
    latent = model.encode(shrunk(target, SIDE), masking)
    truth = patches(target, model.image_decoder.side)
    truth = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (model.image_decoder.every_patch(latent, masking) - truth).square().mean(-1)
    is_hidden = torch.zeros_like(error).scatter(1, masking.hidden, 1.0)
    everywhere = torch.ones_like(batch["hidden"])
    z = model.report_decoder.project(latent[:, 1:]).mean(1)
    logits = model.report_decoder(batch["masked_tokens"], everywhere, z)
    surprise = torch.nn.functional.cross_entropy(
        logits, batch["tokens"].flatten(), reduction="none"
    )
    return {
        "image": (error * is_hidden).sum() / is_hidden.sum(),
        "report": surprise[batch["hidden"].flatten()].mean(),
    }


def test_skipping_what_is_not_asked_for_changes_neither_losses_nor_gradients() -> None:
    model = model_of()
    batch = batch_of(model)
    short, full = pretraining_terms(model, batch, OBJECTIVE), full_terms(model, batch)
    assert short.keys() == full.keys() == {"image", "report"}
    for name in full:
        torch.testing.assert_close(short[name], full[name], rtol=1e-6, atol=0)
    got, expected = gradients(model, short), gradients(model, full)
    assert got.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-7)


def test_longer_padding_changes_nothing() -> None:
    model = model_of()
    batch = batch_of(model)
    longest = int((batch["tokens"] != PADDING).sum(1).max())
    cut = {k: v[:, :longest] if v.shape[1:] == (LENGTH,) else v for k, v in batch.items()}
    for name, value in pretraining_terms(model, batch, OBJECTIVE).items():
        torch.testing.assert_close(value, pretraining_terms(model, cut, OBJECTIVE)[name])


def test_all_positions_count_when_the_authors_loss_is_asked_for() -> None:
    model = model_of()
    batch = batch_of(model)
    everything = replace(OBJECTIVE, report_loss="all")
    masked = pretraining_terms(model, batch, OBJECTIVE)["report"]
    all_of_it = pretraining_terms(model, batch, everything)["report"]
    assert not torch.isclose(masked, all_of_it)
    batch["hidden"] = torch.ones_like(batch["hidden"])
    torch.testing.assert_close(pretraining_terms(model, batch, OBJECTIVE)["report"], all_of_it)


@pytest.mark.parametrize("pictures", ["all", "some", "none"])
@pytest.mark.parametrize("reports", ["all", "some", "none"])
def test_each_record_trains_what_it_has(pictures: str, reports: str) -> None:
    model = model_of()
    batch = batch_of(model)
    some = torch.arange(BATCH) % 2 == 0
    have = {"all": some | True, "some": some, "none": some & False}
    batch["has_image"], batch["has_report"] = have[pictures], have[reports].flip(0)
    batch["image"][~batch["has_image"]] = 255
    batch["tokens"][~batch["has_report"]] = PADDING
    terms = pretraining_terms(model, batch, OBJECTIVE)

    present = {"image"} if pictures != "none" else set()
    present |= {"report"} if reports != "none" else set()
    assert terms.keys() == present
    if not present:
        return
    found = gradients(model, terms)
    assert found.keys() == trainable(model)
    assert all(g.isfinite().all() for g in found.values())
    if pictures == "none":
        assert not any(g.any() for k, g in found.items() if not k.startswith("report_decoder."))


def test_what_a_record_does_not_have_is_not_looked_at() -> None:
    model = model_of()
    batch = batch_of(model)
    batch["has_image"] = torch.arange(BATCH) < 4
    batch["has_report"] = torch.arange(BATCH) > 1
    before = pretraining_terms(model, batch, OBJECTIVE)
    changed = {k: v.clone() for k, v in batch.items()}
    changed["image"][4:] = 17
    changed["masked_tokens"][:2] = 5
    changed["hidden"][:2] = True
    after = pretraining_terms(model, changed, OBJECTIVE)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_report_without_image_is_read_with_z_zero() -> None:
    model = model_of()
    batch = batch_of(model)
    alone = {**batch, "has_image": torch.zeros(BATCH, dtype=torch.bool)}
    logits = model.report_decoder(
        batch["masked_tokens"], batch["hidden"], torch.zeros(BATCH, REPORTS.width)
    )
    expected = torch.nn.functional.cross_entropy(logits, batch["tokens"][batch["hidden"]])
    torch.testing.assert_close(pretraining_terms(model, alone, OBJECTIVE)["report"], expected)
    with_image = pretraining_terms(model, batch, OBJECTIVE)["report"]
    assert not torch.isclose(with_image, expected)


def test_each_report_is_read_with_its_own_image() -> None:
    model = model_of()
    batch = batch_of(model)
    batch["has_image"] = torch.tensor([False, True, True, False, True, True])
    batch["has_report"] = torch.tensor([True, False, True, True, False, True])
    together = pretraining_terms(model, batch, OBJECTIVE)["report"]
    each, words = [], []
    for at in batch["has_report"].nonzero().flatten():
        one = {name: value[at : at + 1] for name, value in batch.items()}
        each.append(pretraining_terms(model, one, OBJECTIVE)["report"])
        words.append(one["hidden"].sum())
    alone = torch.stack(each) @ torch.stack(words).float() / sum(words)
    torch.testing.assert_close(together, alone)


def test_a_report_with_nothing_hidden_costs_nothing() -> None:
    model = model_of()
    batch = batch_of(model)
    batch["hidden"][:] = False
    terms = pretraining_terms(model, batch, OBJECTIVE)
    assert terms["report"] == 0
    assert all(g.isfinite().all() for g in gradients(model, terms).values())


@pytest.mark.parametrize(
    ("config", "present"),
    [
        (replace(CONFIG, report_decoder=None), {"image"}),
        (replace(CONFIG, image_decoder=None), {"report"}),
        (replace(CONFIG, report_decoder=replace(REPORTS, tied=False)), {"image", "report"}),
        (replace(CONFIG, image_decoder=ImageDecoderConfig(16, 1, 2, 1)), {"image", "report"}),
        (
            replace(
                CONFIG, backbone=BackboneConfig("vit_tiny_patch16_224", TINY | {"in_chans": 1})
            ),
            {"image", "report"},
        ),
    ],
    ids=["images only", "reports only", "untied", "same size", "one channel"],
)
def test_every_parameter_of_every_make_gets_a_gradient(config: MRMConfig, present: set) -> None:
    model = model_of(config)
    channels = model.encoder.in_chans
    objective = replace(OBJECTIVE, preprocessing=Preprocessing(SIDE, 0.5, 0.25, channels))
    batch = batch_of(model)
    if config.report_decoder is None:
        batch = {k: batch[k] for k in ("image", "noise", "has_image")}
    terms = pretraining_terms(model, batch, objective)
    assert terms.keys() == present
    found = gradients(model, terms)
    assert {k for k, g in found.items() if g.any()} == trainable(model)


@pytest.mark.parametrize(
    "architecture",
    ["vit_small_patch14_reg4_dinov2", "vit_base_patch16_gap_224", "vit_base_patch16_clip_224",
     "deit3_small_patch16_224", "vit_base_patch16_siglip_224"],
)  # fmt: skip
def test_any_plain_vit_of_timm_can_be_pretrained(architecture: str) -> None:
    shape = {"img_size": 28, "patch_size": 7, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = model_of(replace(CONFIG, backbone=BackboneConfig(architecture, shape)))
    terms = pretraining_terms(model, batch_of(model), OBJECTIVE)
    found = gradients(model, terms)
    assert {k for k, g in found.items() if g.any()} == trainable(model)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_made_at_another_image_size(size: str) -> None:
    config = SIZES[size]
    shape = config.backbone.model_args | {"img_size": 32, "depth": 1}
    model = model_of(replace(config, backbone=replace(config.backbone, model_args=shape)))
    batch = batch_of(model, batch=2)
    assert model.target_size == 64
    assert pretraining_terms(model, batch, OBJECTIVE).keys() == {"image", "report"}


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("vit_tiny_patch16_224", "tiny"),
        ("vit_medium_patch16_gap_256", "small"),
        ("vit_large_patch16_224", "base"),
    ],
)
def test_another_vit_gets_the_decoders_of_its_size(architecture: str, size: str) -> None:
    backbone = BackboneConfig(architecture)
    assert sized_for(backbone) == replace(SIZES[size], backbone=backbone)


def test_losses_are_float32_and_close_under_bfloat16() -> None:
    model = model_of()
    batch = batch_of(model)
    exact = pretraining_terms(model, batch, OBJECTIVE)
    with torch.autocast("cpu", torch.bfloat16):
        rough = pretraining_terms(model, batch, OBJECTIVE)
    for name in exact:
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], exact[name], rtol=2e-2, atol=0)


def test_the_patches_of_lowest_noise_stay() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.4, 0.6]])
    masking = mask_patches(noise, 0.5)
    assert masking.visible.tolist() == [[1, 3], [0, 2]]
    assert masking.hidden.tolist() == [[2, 0], [3, 1]]


def test_hidden_pixels_never_reach_the_encoder() -> None:
    model = model_of()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    masking = mask_patches(torch.rand(2, 16, generator=torch.Generator().manual_seed(1)), 0.75)
    seen = torch.zeros(2, 16).scatter(1, masking.visible, 1.0).view(2, 1, 4, 4)
    seen = seen.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    torch.testing.assert_close(model.encode(images, masking), model.encode(images * seen, masking))


def test_every_patch_is_in_the_place_of_its_own() -> None:
    model = model_of()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    masking = mask_patches(torch.rand(2, 16, generator=torch.Generator().manual_seed(1)), 0.75)
    latent = model.encode(images, masking)
    everywhere = model.image_decoder.every_patch(latent, masking)
    index = masking.hidden[:, :, None].expand(-1, -1, everywhere.shape[2])
    torch.testing.assert_close(everywhere.gather(1, index), model.image_decoder(latent, masking))


def test_a_patch_lists_its_values_by_row_column_and_channel() -> None:
    image = torch.arange(2 * 4 * 4).view(1, 2, 4, 4).float()
    assert patches(image, 2)[0, 1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23]
    masking = mask_patches(torch.tensor([[0.0, 0.3, 0.2, 0.1]]), 0.5)
    assert torch.equal(hidden_patches(image, 2, masking)[0], patches(image, 2)[0, [2, 1]])
