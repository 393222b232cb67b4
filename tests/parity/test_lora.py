"""MED-PEFT's LoRA ViT, and the plain ViT, against the authors' own."""

import copy
import re
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

from .rules import FORWARD, STEPS, Case, Differences, cases

CASES = cases("lora_*.json", needs=("config", "seed", "trainable"))
QKV = "blocks.0.attn.qkv"
WHOLE = {
    "grad_lora_A0": f"{QKV}.lora_A",
    "grad_lora_B0": f"{QKV}.lora_B",
    "grad_head": "head.weight",
}
GROUPS = re.compile(r"lr_groups_layer_decay_(\d)(\d+)_wd_(\d)(\d+)")


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


def attached(config: dict[str, Any]) -> nn.Module:
    """Our LoRA model under the authors' names; dropout is off, as in the cases."""
    lora = TunerConfig("lora", config["rank"], float(config["lora_alpha"]), 0.0)
    return ADAPTERS["lora"].attach(plain_vit(config), lora)


def tuned(case: Case) -> nn.Module:
    model = attached(case.config)
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


def merged(case: Case) -> tuple[Tensor, Tensor]:
    """The first layer's weight with its update, and the logits of the merged model."""
    model = ADAPTERS["lora"].merge(tuned(case)).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(case.arrays["x"]))
    return model.get_parameter(f"{QKV}.weight").detach(), logits


def sgd_losses(case: Case, steps: int) -> list[float]:
    model = tuned(case)
    optimizer = build_optimizer(model, OptimConfig("sgd", lr=0.05, momentum=0.9))
    losses = []
    for _ in range(steps):
        losses.append(backward(model, case)[1])
        optimizer.step()
    return losses


def groups_of(model: nn.Module, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Our groups with the names of their parameters."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, weight_decay, layer_decay)
    return [{**group, "params": [names[id(p)] for p in group["params"]]} for group in groups]


def trainable(model: nn.Module) -> dict[str, list[int]]:
    return {n: list(p.shape) for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("case", CASES)
def test_lora_forward_and_gradients(case: Case, differences: Differences) -> None:
    logits, loss, grads = backward(tuned(case), case)
    differences.add(case, "logits", logits, case.arrays["logits"], FORWARD)
    differences.add(case, "loss", loss, case.facts["loss"], FORWARD)
    differences.add_norms(case, "gradient norms", grads, case.facts["grad_norms"])
    for stored, name in WHOLE.items():
        differences.add_gradient(case, "whole gradients", grads[name], case.arrays[stored], name)
    differences.check()


@pytest.mark.parametrize("case", CASES)
def test_lora_trains_what_the_authors_train(case: Case) -> None:
    assert trainable(tuned(case)) == case.facts["trainable"]


@pytest.mark.parametrize("case", CASES)
def test_lora_merged(case: Case, differences: Differences) -> None:
    weight, logits = merged(case)
    differences.add(case, "merged weight", weight, case.arrays["merged_qkv0"], FORWARD)
    differences.add(case, "merged logits", logits, case.arrays["logits_merged"], FORWARD)
    differences.check()


@pytest.mark.parametrize("case", CASES)
def test_lora_sgd_steps(case: Case, differences: Differences) -> None:
    expected = case.facts["sgd_losses"]
    for step, found in enumerate(sgd_losses(case, len(expected))):
        differences.add(case, "SGD losses", found, expected[step], STEPS, f"step {step}")
    differences.check()


@pytest.mark.parametrize("case", CASES)
def test_layer_decay_groups(case: Case) -> None:
    def comparable(groups: list[dict[str, Any]]) -> list[tuple[float, float, list[str]]]:
        return sorted(
            (round(g["lr_scale"], 12), g["weight_decay"], sorted(g["params"])) for g in groups
        )

    stored = [found for key in case.facts if (found := GROUPS.fullmatch(key))]
    assert stored
    for name in stored:
        layer_decay, weight_decay = (float(f"{name[i]}.{name[i + 1]}") for i in (1, 3))
        found = comparable(groups_of(tuned(case), weight_decay, layer_decay))
        assert found == comparable(case.facts[name[0]])


@pytest.mark.parametrize("case", CASES)
def test_plain_vit(case: Case, differences: Differences) -> None:
    logits, loss, grads = backward(plain(case), case)
    differences.add(case, "plain ViT's logits", logits, case.arrays["full_logits"], FORWARD)
    differences.add(case, "plain ViT's loss", loss, case.facts["full_loss"], FORWARD)
    differences.add_norms(case, "plain ViT's norms", grads, case.facts["full_grad_norms"])
    differences.check()


@pytest.mark.parametrize("case", CASES)
def test_saved_adapter_computes_the_authors_logits_in_plain_peft(
    case: Case, tmp_path: Path, differences: Differences
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
    differences.add(case, "logits in plain peft", logits, case.arrays["logits"], FORWARD)
    differences.check()


@pytest.mark.parametrize("case", cases("lora_vit_base_trainable*.json", needs=()))
def test_trainable_share_of_vit_base(case: Case) -> None:
    base = timm.create_model("vit_base_patch16_224", num_classes=14, global_pool="avg")
    for rank, expected in case.facts.items():
        model = ADAPTERS["lora"].attach(copy.deepcopy(base), TunerConfig("lora", int(rank)))
        total = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert [trained, total] == expected[:2]
        assert 100 * trained / total == pytest.approx(expected[2], rel=1e-12)
