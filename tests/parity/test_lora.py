"""MED-PEFT's LoRA ViT, and the plain ViT, against the authors' own."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peft import PeftModel
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import is_head
from radlearn.engine.optim import OptimConfig, build_optimizer, parameter_groups
from radlearn.finetuning.terms import classification_loss

from .rules import Case, cases, largest_difference

CASES = cases("lora_*.json", needs=("config", "seed", "trainable"))
FORWARD, GRADIENT, STEPS = 1e-5, 1e-4, 1e-4


def plain_vit(config: dict[str, Any]) -> nn.Module:
    return timm.create_model(
        "vit_base_patch16_224",
        img_size=config["img"],
        patch_size=config["patch"],
        embed_dim=config["dim"],
        depth=config["depth"],
        num_heads=config["heads"],
        num_classes=config["classes"],
        global_pool="avg",
    )


def tuned(case: Case) -> nn.Module:
    """Our LoRA model under the authors' names; dropout is off, as in the cases."""
    lora = TunerConfig("lora", case.config["rank"], float(case.config["lora_alpha"]), 0.0)
    model = ADAPTERS["lora"].attach(plain_vit(case.config), lora)
    model.load_state_dict(case.weights(), strict=True)
    return model


def plain(case: Case) -> nn.Module:
    model = ADAPTERS["full"].attach(plain_vit(case.config), TunerConfig("full"))
    model.load_state_dict(case.weights("full_state_dict"), strict=True)
    return model


def backward(model: nn.Module, case: Case) -> tuple[Tensor, float, dict[str, Tensor]]:
    """Logits, loss, and gradients by name."""
    x, y = (torch.from_numpy(case.arrays[name]) for name in ("x", "y"))
    model.zero_grad()
    logits = model(x)
    loss = classification_loss(logits, y)
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), loss.item(), grads


def assert_norms(grads: dict[str, Tensor], expected: dict[str, float]) -> None:
    assert grads.keys() == expected.keys()
    for name, norm in expected.items():
        found = float(grads[name].double().norm())
        assert math.isclose(found, norm, rel_tol=GRADIENT, abs_tol=1e-6), name


@pytest.mark.parametrize("case", CASES)
def test_lora_forward_and_gradients(case: Case) -> None:
    logits, loss, grads = backward(tuned(case), case)
    arrays = case.arrays
    assert largest_difference(logits, arrays["logits"]) < FORWARD
    assert loss == pytest.approx(case.facts["loss"], rel=FORWARD)
    assert_norms(grads, case.facts["grad_norms"])
    whole = {
        "grad_lora_A0": "blocks.0.attn.qkv.lora_A",
        "grad_lora_B0": "blocks.0.attn.qkv.lora_B",
        "grad_head": "head.weight",
    }
    for stored, name in whole.items():
        assert largest_difference(grads[name], arrays[stored]) < GRADIENT, name


@pytest.mark.parametrize("case", CASES)
def test_lora_trains_what_the_authors_train(case: Case) -> None:
    found = {n: list(p.shape) for n, p in tuned(case).named_parameters() if p.requires_grad}
    assert found == case.facts["trainable"]


@pytest.mark.parametrize("case", CASES)
def test_lora_merged(case: Case) -> None:
    merged = ADAPTERS["lora"].merge(tuned(case)).eval()
    weight = merged.get_parameter("blocks.0.attn.qkv.weight")
    assert largest_difference(weight, case.arrays["merged_qkv0"]) < FORWARD
    with torch.no_grad():
        logits = merged(torch.from_numpy(case.arrays["x"]))
    assert largest_difference(logits, case.arrays["logits_merged"]) < FORWARD


@pytest.mark.parametrize("case", CASES)
def test_lora_sgd_steps(case: Case) -> None:
    model = tuned(case)
    optimizer = build_optimizer(model, OptimConfig("sgd", lr=0.05, momentum=0.9))
    losses = []
    for _ in case.facts["sgd_losses"]:
        losses.append(backward(model, case)[1])
        optimizer.step()
    assert losses == pytest.approx(case.facts["sgd_losses"], rel=STEPS)


@pytest.mark.parametrize("case", CASES)
def test_layer_decay_groups(case: Case) -> None:
    model = tuned(case)
    names = {id(p): name for name, p in model.named_parameters()}

    def comparable(groups: list[dict], name: Any) -> list[tuple[float, float, list[str]]]:
        return sorted(
            (round(g["lr_scale"], 12), g["weight_decay"], sorted(map(name, g["params"])))
            for g in groups
        )

    found = comparable(parameter_groups(model, 0.05, 0.65), lambda p: names[id(p)])
    assert found == comparable(case.facts["lr_groups_layer_decay_065_wd_005"], str)


@pytest.mark.parametrize("case", CASES)
def test_plain_vit(case: Case) -> None:
    logits, loss, grads = backward(plain(case), case)
    assert largest_difference(logits, case.arrays["full_logits"]) < FORWARD
    assert loss == pytest.approx(case.facts["full_loss"], rel=FORWARD)
    assert_norms(grads, case.facts["full_grad_norms"])


@pytest.mark.parametrize("case", CASES)
def test_saved_adapter_computes_the_authors_logits_in_plain_peft(
    case: Case, tmp_path: Path
) -> None:
    ADAPTERS["lora"].save(tuned(case), tmp_path, {"labels": []})
    base = plain_vit(case.config)
    base.load_state_dict(
        {k: v for k, v in case.weights().items() if k in base.state_dict() and not is_head(k)},
        strict=False,
    )
    loaded = PeftModel.from_pretrained(base, tmp_path).eval()
    with torch.no_grad():
        logits = loaded(torch.from_numpy(case.arrays["x"]))
    assert largest_difference(logits, case.arrays["logits"]) < FORWARD


@pytest.mark.parametrize("case", cases("lora_vit_base_trainable*.json", needs=()))
def test_trainable_share_of_vit_base(case: Case) -> None:
    base = timm.create_model("vit_base_patch16_224", num_classes=14, global_pool="avg")
    for rank, expected in case.facts.items():
        model = ADAPTERS["lora"].attach(copy.deepcopy(base), TunerConfig("lora", int(rank)))
        total = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert [trainable, total] == expected[:2]
        assert 100 * trainable / total == pytest.approx(expected[2], rel=1e-12)
