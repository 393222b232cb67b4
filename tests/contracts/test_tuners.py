"""Every tuner on every family of backbones, tiny: a new line of KINDS or ADAPTERS is in here."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from peft import PeftModel
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig, adapter_named
from radlearn.adapters.kinds import KINDS
from radlearn.adapters.tuner import is_head
from radlearn.errors import InputError

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": (
        "vit_tiny_patch16_224",
        {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
        | {"global_pool": "avg"},
    ),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 12}
        | {"depths": (1, 1), "num_heads": (2, 2)},
    ),
    "convnext": (
        "convnext_tiny",
        {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
    ),
}
REFUSED = {
    ("lora", "convnext"),
    ("prompt", "swin"),
    ("prompt", "convnext"),
    ("prompt-deep", "swin"),
    ("prompt-deep", "convnext"),
    ("gralora", "convnext"),
    ("oft", "convnext"),
    ("frod", "swin"),
    ("frod", "convnext"),
}
REWRITTEN = {name for name, kind in KINDS.items() if kind.rewrites} | {"osf"}
"""The base weights are split into what trains and what does not."""
OWN = {"full", "bias", "norm"}
"""Tuners that train weights of the model itself."""

everywhere = pytest.mark.parametrize(
    ("tuner", "family"),
    [(t, f) for t in ADAPTERS for f in FAMILIES if (t, f) not in REFUSED],
)
of_peft = pytest.mark.parametrize(
    ("tuner", "family"),
    [(t, f) for t in ADAPTERS for f in FAMILIES if ADAPTERS[t].peft and (t, f) not in REFUSED],
)


def plain(family: str, seed: int = 0, labels: int = 3) -> nn.Module:
    """A model whose every weight matters, as after pretraining."""
    torch.manual_seed(seed)
    name, arguments = FAMILIES[family]
    model = timm.create_model(name, num_classes=labels, **arguments)
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("gamma"):
                value.fill_(0.5)
            elif value.ndim > 1 or key.endswith("bias"):
                value.normal_(std=0.2)
    return model.eval()


def images(family: str) -> Tensor:
    side = 32 if family == "convnext" else 16
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def config(tuner: str) -> TunerConfig:
    return TunerConfig(tuner, rank=2, alpha=8.0, dropout=0.0, steps=10)


def logits(model: nn.Module, family: str) -> Tensor:
    with torch.no_grad():
        return model.eval()(images(family))


class Case(NamedTuple):
    """A model before, during and after a step of training from a place away from its start."""

    model: nn.Module
    trains: frozenset[str]
    plain: Tensor
    start: Tensor
    attached: dict[str, Tensor]
    before: dict[str, Tensor]
    logits: Tensor


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@cache
def trained(tuner: str, family: str) -> Case:
    adapter, model = ADAPTERS[tuner], plain(family)
    without = logits(model, family)
    torch.manual_seed(3)
    model = adapter.attach(model, config(tuner))
    start, attached = logits(model, family), copied(model)
    after = adapter.after(model) if adapter.after else None
    ours = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for value in ours.values():
            value.add_(0.2 * torch.randn_like(value))
    before = copied(model)
    optimizer = torch.optim.AdamW(ours.values(), lr=0.02)
    more = adapter.terms(model) if adapter.terms else {}
    model.train()
    (model(images(family)).square().sum() + sum(more.values())).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == ours.keys()
    optimizer.step()
    if after:
        after()
    shared = model.named_parameters(remove_duplicate=False)  # peft's, by several layers
    trains = frozenset(name for name, p in shared if p.requires_grad)
    return Case(model, trains, without, start, attached, before, logits(model, family))


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@everywhere
def test_the_start_is_the_plain_model(tuner: str, family: str) -> None:
    case = trained(tuner, family)
    if ADAPTERS[tuner].same_start:
        near(case.start, case.plain)
    elif ADAPTERS[tuner].peft:
        near(case.start, case.plain, 0.01)
    else:
        assert not torch.equal(case.start, case.plain)


@everywhere
def test_a_step_changes_what_trains_and_nothing_else(tuner: str, family: str) -> None:
    case = trained(tuner, family)
    now = case.model.state_dict()
    moved = {name for name, value in case.before.items() if not torch.equal(now[name], value)}
    assert {name for name in moved if not name.startswith("importance.")} == case.trains
    heads = {name for name, _ in case.model.named_parameters() if is_head(name)}
    assert heads <= case.trains
    assert case.trains > heads or tuner == "linear"


@everywhere
def test_weights_of_the_backbone_stay(tuner: str, family: str) -> None:
    case, base = trained(tuner, family), plain(family).state_dict()
    found = {}
    for name, value in case.model.state_dict().items():
        for wrapper in (".base_layer", ".block", ".then"):
            name = name.replace(f"{wrapper}.", ".") if f"{wrapper}." in name else name
        found[name] = value
    own = case.trains if tuner in OWN else {name for name in case.trains if is_head(name)}
    if tuner not in REWRITTEN:
        assert all(torch.equal(found[n], base[n]) for n in base.keys() - own)
    assert tuner in OWN or not any(n in base for n in case.trains - own)
    frozen = case.attached.keys() - case.trains
    assert all(torch.equal(case.before[name], case.attached[name]) for name in frozen)


@everywhere
def test_merged_equals_unmerged(tuner: str, family: str) -> None:
    case = trained(tuner, family)
    before = copied(case.model)
    merged = ADAPTERS[tuner].merge(case.model)
    near(logits(merged, family), case.logits, 3e-5)
    assert all(torch.equal(v, before[n]) for n, v in case.model.state_dict().items())
    if ADAPTERS[tuner].mergeable:
        fresh = plain(family, seed=5)
        fresh.load_state_dict(merged.state_dict(), strict=True)
        near(logits(fresh, family), case.logits, 3e-5)


@everywhere
def test_saved_and_loaded_gives_the_same_logits(tuner: str, family: str, tmp_path: Path) -> None:
    case = trained(tuner, family)
    ADAPTERS[tuner].save(case.model, tmp_path, {"labels": ["a", "b", "c"]})
    other = plain(family)
    nn.init.normal_(other.get_classifier().weight)
    loaded = ADAPTERS[tuner].load(other, tmp_path)
    near(logits(loaded, family), case.logits)
    if not ADAPTERS[tuner].peft or not KINDS.get(tuner, KINDS["dora"]).rewrites:
        assert torch.equal(logits(loaded, family), case.logits)
        shared = loaded.named_parameters(remove_duplicate=False)
        assert {name for name, p in shared if p.requires_grad} == case.trains
    near(logits(ADAPTERS[tuner].merge(loaded), family), case.logits, 3e-5)
    for file in tmp_path.glob("*.json"):
        text = file.read_text()
        assert str(tmp_path) not in text and str(Path.home()) not in text


@of_peft
def test_plain_peft_loads_it_on_plain_timm(tuner: str, family: str, tmp_path: Path) -> None:
    case = trained(tuner, family)
    ADAPTERS[tuner].save(case.model, tmp_path, {"labels": ["a", "b", "c"]})
    loaded = PeftModel.from_pretrained(plain(family), tmp_path)
    near(logits(loaded, family), case.logits)


@pytest.mark.parametrize(("tuner", "family"), sorted(REFUSED))
def test_where_a_tuner_makes_no_sense_it_says_so(tuner: str, family: str) -> None:
    with pytest.raises(InputError, match="choose") as caught:
        ADAPTERS[tuner].attach(plain(family), config(tuner))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tuner", ADAPTERS)
def test_what_is_loaded_has_to_fit(tuner: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an adapter"):
        ADAPTERS[tuner].load(plain("vit"), tmp_path)
    ADAPTERS[tuner].save(trained(tuner, "vit").model, tmp_path, {"labels": ["a"]})
    with pytest.raises(InputError, match="does not fit"):
        ADAPTERS[tuner].load(plain("vit", labels=5), tmp_path)
    other = next(name for name in ADAPTERS if name != tuner)
    with pytest.raises(InputError, match=tuner):
        ADAPTERS[other].load(plain("vit"), tmp_path)
    if tuner != "full":
        with pytest.raises(InputError, match="belongs to the backbone"):
            ADAPTERS[tuner].load(plain("vit", seed=9), tmp_path)
    facts = json.loads((tmp_path / "radlearn.json").read_text())
    for wrong in ({"rank": "4"}, {"rank": 10**9}, {"alpha": -1}, {"of": 3}, {"dropout": [1]}):
        if tuner in ("full", "linear", "lora") or (wrong == {"rank": 10**9} and tuner in OWN):
            continue
        text = json.dumps(facts | {"tuner": facts["tuner"] | wrong})
        (tmp_path / "radlearn.json").write_text(text)
        with pytest.raises(InputError):
            ADAPTERS[tuner].load(plain("vit"), tmp_path)


def test_a_tuner_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'lora2'.*choose.*prompt.*dora"):
        adapter_named("lora2")
