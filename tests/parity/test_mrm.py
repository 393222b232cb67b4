"""MRM against what its authors' code computes from the same weights and inputs."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from radlearn.models.backbone import BackboneConfig
from radlearn.models.mrm import MRM, ImageDecoderConfig, MRMConfig, hidden_patches, mask_patches
from radlearn.models.published import DECODER_BIAS, export_mrm, from_published, published_name
from radlearn.models.report_decoder import ReportDecoderConfig
from radlearn.pretraining.terms import image_loss, report_loss

from .rules import FORWARD, Case, Differences, cases, parameters

BERT = "bert_encoder.model."
WHOLE = {"grad_patch_embed": "patch_embed.proj.weight", "grad_qkv0": "blocks.0.attn.qkv.weight"}
MANY_PARAMETERS = 10_000_000


class Found(NamedTuple):
    """What our model computes: by the layout's names, and gradients by the published ones."""

    scalars: dict[str, float]
    arrays: dict[str, Tensor]
    gradients: dict[str, Tensor]


def config_of(facts: dict[str, Any]) -> MRMConfig:
    encoder, image, report = (facts[k] for k in ("encoder", "image_decoder", "report_decoder"))
    return MRMConfig(
        BackboneConfig(
            "vit_base_patch16_224",
            {
                "img_size": facts["low"],
                "patch_size": facts["patch"],
                "in_chans": facts["channels"],
                "embed_dim": encoder["width"],
                "depth": encoder["layers"],
                "num_heads": encoder["heads"],
                "mlp_ratio": encoder["mlp"],
            },
        ),
        ImageDecoderConfig(**image, scale=facts["high"] // facts["low"]),
        ReportDecoderConfig(**report, tied=False),
    )


def images(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """What the encoder sees and what is rebuilt, stored or drawn as the README says."""
    if "image_high" in case.arrays:
        return tuple(torch.from_numpy(case.arrays[f"image_{k}"]) for k in ("low", "high"))
    side, channels = case.config["high"], case.config["channels"]
    batch = len(case.arrays["noise"])
    high = np.random.RandomState(case.seed).rand(batch, channels, side, side).astype(np.float32)
    high = torch.from_numpy(high)
    return torch.nn.functional.avg_pool2d(high, side // case.config["low"]), high


def loaded(case: Case) -> MRM:
    model = MRM(config_of(case.config)).eval()
    filled = case.weights()
    # two matrices in the authors' code, but the head's starts with the embedding's values
    filled[f"{BERT}cls.predictions.decoder.weight"] = filled[
        f"{BERT}bert.embeddings.word_embeddings.weight"
    ]
    model.load_state_dict(from_published(filled), strict=True)
    return model


def computed(model: MRM, case: Case) -> Found:
    arrays = case.arrays
    labels, masked = (torch.from_numpy(arrays[k]) for k in ("labels", "masked_ids"))
    low, high = images(case)
    masking = mask_patches(torch.from_numpy(arrays["noise"]), case.config["mask_ratio"])
    assert model.image_decoder is not None and model.report_decoder is not None

    latent = model.encode(low, masking)
    truth = hidden_patches(high, model.image_decoder.side, masking)
    rebuilt = model.image_decoder(latent, masking)
    of_image = image_loss(rebuilt, truth, case.config["normalise_patches"])
    z = model.summary(latent)
    every = torch.ones_like(labels, dtype=torch.bool)
    logits = model.report_decoder(masked, every, z)
    of_report = report_loss(logits, labels.flatten())
    hidden = masked != labels
    of_hidden = report_loss(model.report_decoder(masked, hidden, z), labels[hidden])
    (of_image + of_report).backward()

    gradients = {
        published_name(k): p.grad for k, p in model.named_parameters() if p.grad is not None
    }
    scalars = {
        "image_loss": of_image.item(),
        "report_loss_all_tokens": of_report.item(),
        "report_loss_masked_tokens": of_hidden.item(),
    }
    with torch.no_grad():
        pred = model.image_decoder.every_patch(latent, masking)
    outputs = {
        "latent": latent.detach(),
        "pred": pred,
        "report_logits": logits.detach().view(*labels.shape, -1),
        "mask": torch.zeros(arrays["noise"].shape).scatter(1, masking.hidden, 1),
    }
    return Found(scalars, outputs, gradients)


def expensive(case: Case) -> bool:
    return parameters(case.facts["state_dict"]) > MANY_PARAMETERS


@pytest.mark.parametrize("case", cases("mrm_*.json", slow=expensive))
def test_mrm_computes_what_the_authors_code_computes(case: Case, differences: Differences) -> None:
    model, scalars, arrays = loaded(case), case.facts["scalars"], case.arrays
    # our decoder knows padding by its token alone
    assert np.array_equal(arrays["attention_mask"] != 0, arrays["masked_ids"] != 0)

    found = computed(model, case)
    assert np.array_equal(found.arrays["mask"], arrays["mask"])
    for name, value in found.scalars.items():
        differences.add(case, name, value, scalars[name], FORWARD)
    for name, output in found.arrays.items():
        if name in arrays and name != "mask":
            differences.add(case, name, output, arrays[name], FORWARD)
    differences.add_norms(case, "gradient norms", found.gradients, case.facts["grad_norms"])
    for stored, name in WHOLE.items():
        if stored in arrays:
            gradient = found.gradients[name]
            differences.add_gradient(case, "whole gradients", gradient, arrays[stored], name)
    differences.check()


@pytest.mark.parametrize("case", cases("mrm_*.json"))
def test_mrm_has_the_authors_parameters(case: Case) -> None:
    with torch.device("meta"):
        exported = export_mrm(MRM(config_of(case.config)))
    assert {k: list(v.shape) for k, v in exported.items()} == case.facts["state_dict"]
    count = sum(v.numel() for k, v in exported.items() if k != DECODER_BIAS)
    assert count == case.facts["scalars"]["total_params"]
