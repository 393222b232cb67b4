"""Groups of parameters, optimisers and schedules."""

import math
from itertools import pairwise

import pytest
import timm
import torch
from torch import nn

from radlearn.engine.optim import OptimConfig, build_optimizer, parameter_groups
from radlearn.engine.schedule import SCHEDULES
from radlearn.errors import InputError

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}


def vit(**changes: object) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", **{**SMALL, "num_classes": 3, **changes})


def scales_by_name(model: nn.Module, decay: float = 0.1) -> dict[str, tuple[float, float]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(model, decay, 0.5)
        for p in group["params"]
    }


class Wrapper(nn.Module):
    """A backbone somewhere inside, as a segmenter or peft holds it, and a layer outside of it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.deep = nn.Sequential(inner)
        self.decoder = nn.Linear(12, 2)


def test_every_parameter_that_trains_is_in_exactly_one_group() -> None:
    model = vit()
    model.pos_embed.requires_grad_(False)
    for layer_decay in (None, 0.65):
        groups = parameter_groups(model, 0.05, layer_decay)
        grouped = [id(p) for group in groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_vectors_are_not_decayed_and_matrices_are() -> None:
    for group in parameter_groups(vit(), 0.05):
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.05) for p in group["params"])
        assert group["lr_scale"] == 1.0


def test_scales_fall_by_one_factor_a_layer() -> None:
    found = scales_by_name(vit(global_pool="avg"))
    assert found["head.weight"] == (1.0, 0.1)
    assert found["fc_norm.weight"] == (1.0, 0.0)
    assert found["blocks.1.attn.qkv.weight"] == (0.5, 0.1)
    assert found["blocks.0.mlp.fc1.bias"] == (0.25, 0.0)
    assert found["patch_embed.proj.weight"] == (0.125, 0.1)
    assert found["pos_embed"] == found["cls_token"] == (0.125, 0.0)


def test_scales_are_found_through_a_wrapper() -> None:
    found = scales_by_name(Wrapper(vit(global_pool="avg")))
    assert found["decoder.weight"] == found["deep.0.head.weight"] == (1.0, 0.1)
    assert found["deep.0.blocks.0.attn.qkv.weight"] == (0.25, 0.1)
    assert found["deep.0.pos_embed"] == (0.125, 0.0)


def test_a_backbone_without_head_lies_below_what_is_outside() -> None:
    found = scales_by_name(Wrapper(vit(num_classes=0)))
    assert found["decoder.weight"] == (1.0, 0.1)
    assert found["deep.0.blocks.1.attn.qkv.weight"] == (0.5, 0.1)


def test_layer_decay_without_backbone_is_refused() -> None:
    with pytest.raises(InputError, match="layer_decay"):
        parameter_groups(nn.Linear(2, 2), 0.0, 0.5)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizer_moves_only_what_trains_and_keeps_scales(name: str) -> None:
    torch.manual_seed(0)
    model = vit()
    for parameter in model.blocks[0].parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = build_optimizer(model, OptimConfig(name=name, lr=0.1, layer_decay=0.5))
    assert {group["lr"] / group["lr_scale"] for group in optimizer.param_groups} == {0.1}
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == {key for key in before if not key.startswith("blocks.0.")}


def test_optimizer_needs_something_to_train() -> None:
    with pytest.raises(InputError, match="train"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), OptimConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": math.nan},
        {"weight_decay": -1.0},
        {"layer_decay": 1.5},
        {"momentum": 1.0},
        {"betas": (0.9, 1.0)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        OptimConfig(**wrong)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_warms_up_then_never_rises(name: str) -> None:
    rates = [
        SCHEDULES[name](step, warmup=10, total=50, lr=0.4, floor=0.1) for step in range(0, 60, 2)
    ]
    assert rates[0] == 0 and rates[5] == pytest.approx(0.4)
    assert all(a < b for a, b in pairwise(rates[:6]))
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert set(rates[25:]) == ({0.4} if name == "constant" else {0.1})


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_without_warmup_starts_at_the_top(name: str) -> None:
    assert SCHEDULES[name](0, warmup=0, total=5, lr=0.4, floor=0.0) == 0.4


def test_schedule_that_is_all_warmup_ends() -> None:
    assert SCHEDULES["cosine"](10, warmup=10, total=10, lr=0.4, floor=0.1) == 0.1
