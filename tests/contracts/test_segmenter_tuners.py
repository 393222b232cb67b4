"""Every tuner on the backbone inside a segmenter: what holds for labels holds for masks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import is_head
from radlearn.models.backbone import BackboneConfig
from radlearn.models.segmenter import Segmenter, build_segmenter

VIT: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
FAMILIES = {
    "vit": BackboneConfig("vit_tiny_patch16_224", VIT),
    "swin": BackboneConfig(
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 8}
        | {"depths": (1, 1, 1, 1), "num_heads": (2, 2, 2, 2)},
    ),
    "convnext": BackboneConfig(
        "convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "patch_size": 2}
    ),
}
CASES = [(tuner, "vit") for tuner in ADAPTERS]
CASES += [("full", "swin"), ("linear", "swin"), ("lora", "swin"), ("lora-all", "swin")]
CASES += [("full", "convnext"), ("linear", "convnext"), ("dora", "convnext")]


def plain(family: str) -> Segmenter:
    """A segmenter whose every weight matters, as after pretraining."""
    torch.manual_seed(0)
    model = build_segmenter(FAMILIES[family], classes=2, width=8)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("gamma"):
                value.fill_(0.5)
            elif key.endswith("bias") or "classifier" in key:
                value.normal_(std=0.2)
    return model.eval()


def logits(model: Any, family: str) -> Tensor:
    side = FAMILIES[family].model_args.get("img_size", 32)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(images)


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("tuner", "family"), CASES, ids=[f"{tuner}-{family}" for tuner, family in CASES]
)
def test_a_segmenter_is_tuned_saved_loaded_and_merged(
    tuner: str, family: str, tmp_path: Path
) -> None:
    adapter, model = ADAPTERS[tuner], plain(family)
    before = logits(model, family)
    torch.manual_seed(3)
    model = adapter.attach(model, TunerConfig(tuner, rank=2, alpha=8.0, dropout=0.0, steps=10))
    if adapter.same_start:
        near(logits(model, family), before)
    ours = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decoder = {name for name, _ in model.named_parameters() if is_head(name)}
    assert decoder and decoder <= ours.keys()
    assert all(name.startswith("decoder.") for name in decoder)
    assert tuner == "linear" or ours.keys() - decoder
    with torch.no_grad():
        for value in ours.values():
            value.add_(0.05 * torch.randn_like(value))
    tuned = logits(model, family)
    assert not torch.allclose(tuned, before, atol=1e-3)
    adapter.save(model, tmp_path, {"task": "segmentation"})
    loaded = adapter.load(plain(family), tmp_path)
    near(logits(loaded, family), tuned)
    near(logits(adapter.merge(loaded), family), tuned)
