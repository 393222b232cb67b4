"""MRM against what its authors' code computes from the same weights and inputs."""

from typing import Any

import numpy as np
import pytest
import torch

from radlearn.models.backbone import BackboneConfig
from radlearn.models.mrm import MRM, ImageDecoderConfig, MRMConfig, hidden_patches, mask_patches
from radlearn.models.published import DECODER_BIAS, export_mrm, from_published, published_name
from radlearn.models.report_decoder import ReportDecoderConfig
from radlearn.pretraining.terms import image_loss, report_loss

from .rules import Case, cases, largest_difference

FORWARD, GRADIENT, NEAR_ZERO = 1e-5, 1e-4, 1e-6
BERT = "bert_encoder.model."
WHOLE = {"grad_patch_embed": "patch_embed.proj.weight", "grad_qkv0": "blocks.0.attn.qkv.weight"}


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


@pytest.mark.parametrize("case", cases("mrm_*.json"))
def test_mrm_computes_what_the_authors_code_computes(case: Case, record_property) -> None:
    model = MRM(config_of(case.config)).eval()
    filled = case.weights()
    # two matrices in the authors' code, but the head's starts with the embedding's values
    filled[f"{BERT}cls.predictions.decoder.weight"] = filled[
        f"{BERT}bert.embeddings.word_embeddings.weight"
    ]
    weights = from_published(filled)
    model.load_state_dict(weights, strict=True)
    scalars, arrays = case.facts["scalars"], case.arrays
    low, high = images(case)
    labels, masked, attended = (
        torch.from_numpy(arrays[k]) for k in ("labels", "masked_ids", "attention_mask")
    )
    masking = mask_patches(torch.from_numpy(arrays["noise"]), case.config["mask_ratio"])
    largest: dict[str, float] = {}

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

    assert torch.equal(attended.bool(), labels != 0)
    assert np.array_equal(
        masking.hidden.sort(1).values, np.stack([m.nonzero()[0] for m in arrays["mask"]])
    )
    largest["image_loss"] = largest_difference(of_image.item(), scalars["image_loss"])
    largest["report_loss_all"] = largest_difference(
        of_report.item(), scalars["report_loss_all_tokens"]
    )
    largest["report_loss_masked"] = largest_difference(
        of_hidden.item(), scalars["report_loss_masked_tokens"]
    )
    for name, found in {
        "latent": latent,
        "pred": model.image_decoder.every_patch(latent, masking),
        "report_logits": logits.view(*labels.shape, -1),
    }.items():
        if name in arrays:
            largest[name] = largest_difference(found.detach(), arrays[name])
    assert all(x < FORWARD for x in largest.values()), largest

    (of_image + of_report).backward()
    gradients = {
        published_name(k): p.grad for k, p in model.named_parameters() if p.grad is not None
    }
    assert set(gradients) == set(case.facts["grad_norms"])
    of_norms = {
        k: (abs(g.norm().item() - case.facts["grad_norms"][k]), case.facts["grad_norms"][k])
        for k, g in gradients.items()
    }
    largest["grad_norms"] = max(d / n for d, n in of_norms.values() if n > NEAR_ZERO)
    assert all(d < max(GRADIENT * n, NEAR_ZERO) for d, n in of_norms.values()), largest
    for name in WHOLE.keys() & arrays.keys():
        largest[name] = largest_difference(gradients[WHOLE[name]], arrays[name])
        assert largest[name] < GRADIENT, largest

    exported = export_mrm(model)
    assert exported.keys() == filled.keys()
    assert (
        sum(v.numel() for k, v in exported.items() if k != DECODER_BIAS) == scalars["total_params"]
    )
    for name, value in largest.items():
        record_property(name, value)
    print(f"\n{case.path.stem}: largest differences {largest}")
