"""What is measured: plain forms that do the same work, quick forms that give the same answers."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import narrow_frozen
from radlearn.bench.estimates import RECIPES, estimates
from radlearn.bench.figure import OURS, PLAIN, Figure, Setting
from radlearn.bench.finetuning import classifier, tuning
from radlearn.bench.limits import Limits, limits
from radlearn.bench.phantom_store import phantom_store
from radlearn.bench.plain_lora import make_plain
from radlearn.bench.plain_mrm import plain_loss
from radlearn.bench.pretraining import plain_step, pretraining
from radlearn.bench.run import FIGURES
from radlearn.bench.sizes import SIZES
from radlearn.bench.timing import in_turn, training_steps
from radlearn.bench.translation import plain_step as plain_translation
from radlearn.bench.translation import translating
from radlearn.engine.device import Compute
from radlearn.models.attention import SparingAttention, choose_attention
from radlearn.models.layers import ReflectionPad2d
from radlearn.models.mrm import MRM
from radlearn.pretraining.terms import pretraining_terms
from radlearn.records.record import Split

CPU = torch.device("cpu")
BOUNDS = Limits(float32=1e9, bfloat16=2e9, bandwidth=1e9, threads=1)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(SIZES["tiny"], 1, True, Compute(CPU, bfloat16=False), tmp_path)


def figure(**more: object) -> Figure:
    given = {"name": "x", "about": "x", "unit": "images", "count": 4, "seconds": {OURS: [2.0]}}
    return Figure(**{**given, **more})  # type: ignore[arg-type]


def test_rates_ratios_and_shares_are_those_of_medians() -> None:
    seconds = {OURS: [9.0, 1.0, 2.0], PLAIN: [4.0, 6.0, 5.0]}
    one = figure(seconds=seconds, operations=5e8, memory={OURS: 1, PLAIN: 4})
    assert one.rate() == 2.0
    assert one.ratio == 2.5
    assert one.share(BOUNDS) == pytest.approx(0.5)
    assert one.memory_share == 0.25


def test_what_was_not_measured_is_null_in_json() -> None:
    said = json.loads(json.dumps(figure().as_json(BOUNDS), allow_nan=False))
    assert said["ratio"] is None and said["share_of_limit"] == {OURS: None}


def test_forms_take_turns_and_the_first_does_not_count(setting: Setting) -> None:
    met: list[str] = []
    forms = {form: lambda form=form: met.append(form) for form in (OURS, PLAIN)}
    found = in_turn(forms, replace(setting, repeats=3))
    assert met == [OURS, PLAIN] * 4
    assert {form: len(seconds) for form, seconds in found.items()} == {OURS: 3, PLAIN: 3}


def test_limits_are_measured() -> None:
    found = limits(CPU, 1, "tiny")
    assert min(found.float32, found.bfloat16, found.bandwidth) > 0
    assert found.best == max(found.float32, found.bfloat16)


def test_plain_mrm_is_the_same_loss(setting: Setting) -> None:
    training, objective = pretraining(setting)
    model = training.nets["model"].eval()
    assert isinstance(model, MRM)
    ours = sum(pretraining_terms(model, training.batch, objective).values())
    plain = plain_loss(copy.deepcopy(model), training.batch, objective)
    torch.testing.assert_close(plain, ours, rtol=1e-5, atol=1e-5)


def test_plain_lora_is_the_same_layer(setting: Setting) -> None:
    model, _ = classifier(setting, 0.0)
    model = ADAPTERS["lora"].attach(model, TunerConfig("lora")).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name or name == "head.weight":
            nn.init.normal_(parameter, std=0.1)
    images = torch.randn(2, 3, setting.sizes.side, setting.sizes.side)
    expected = model(images)
    torch.testing.assert_close(make_plain(model)(images), expected, rtol=1e-4, atol=1e-5)


def test_plain_translation_takes_the_same_step(setting: Setting) -> None:
    training, mode = translating(setting, fresh=True)
    nets = copy.deepcopy(training.nets)
    plain_translation(nets, training.batch, mode)()
    carry: dict[str, torch.Tensor] = {}
    for phase in training.phases:
        phase.optimizer.zero_grad()
        terms, carry = phase.terms(training.batch, carry)
        sum(terms.values()).backward()  # type: ignore[union-attr]
        phase.optimizer.step()
    for name, net in training.nets.items():
        ours, plain = (
            torch.cat([p.grad.flatten() for p in found.parameters()]) for found in (net, nets[name])
        )
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_a_fake_is_made_once_where_the_critic_does_not_ask_for_a_fresh_one(
    setting: Setting,
) -> None:
    passes = {}
    for fresh in (True, False):
        training, _ = translating(setting, fresh)
        seen: list[int] = []
        training.nets["G_ab"].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        carry: dict[str, torch.Tensor] = {}
        for phase in training.phases:
            _, carry = phase.terms(training.batch, carry)
        passes[fresh] = len(seen)
    assert passes == {True: 2, False: 1}


def test_steps_are_the_loops_own_and_plain_ones_come_before(setting: Setting) -> None:
    training = tuning("full", setting)
    before = copy.deepcopy(training.nets["model"].head.weight)
    called: list[int] = []
    found = training_steps(training, setting, lambda: called.append(1))
    assert len(called) == 2 and {k: len(v) for k, v in found.seconds.items()} == {OURS: 1, PLAIN: 1}
    assert not torch.equal(before, training.nets["model"].head.weight)
    assert found.memory > 0


def test_plain_steps_learn(setting: Setting) -> None:
    training, objective = pretraining(setting)
    model = training.nets["model"]
    assert isinstance(model, MRM)
    step = plain_step(model, training.batch, objective)
    model = step.args[0]
    before = copy.deepcopy(model.state_dict())
    step()
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_frozen_weights_in_bfloat16_change_no_bit(setting: Setting) -> None:
    model, _ = classifier(setting, 0.0)
    model = ADAPTERS["lora"].attach(model, TunerConfig("lora")).eval()
    narrow = copy.deepcopy(model)
    narrow_frozen(narrow)
    images = torch.randn(2, 3, setting.sizes.side, setting.sizes.side)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images), narrow(images))
    trained = {n: p for n, p in narrow.named_parameters() if p.requires_grad}
    assert trained and all(p.dtype == torch.float32 for p in trained.values())
    assert narrow.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert narrow.blocks[0].norm1.weight.dtype == torch.float32


def test_what_is_computed_again_gives_the_same_bits(setting: Setting) -> None:
    found = {}
    for again in (False, True):
        training = tuning("lora", setting, again)
        (phase,), model = training.phases, training.nets["model"].train()
        torch.manual_seed(0)
        terms, _ = phase.terms(training.batch, {})
        sum(terms.values()).backward()  # type: ignore[union-attr]
        found[again] = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(*found.values(), strict=True))


def test_sparing_attention_keeps_less_and_learns_the_same(setting: Setting) -> None:
    model, _ = classifier(setting, 0.0)
    nn.init.normal_(model.head.weight)
    images = torch.randn(2, 3, setting.sizes.side, setting.sizes.side)
    gradients, answers, kept = {}, {}, {}
    for kind in ("exact", "plain", "sparing"):
        one = copy.deepcopy(model)
        for module in one.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
        shapes: list[torch.Size] = []
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda t, shapes=shapes: (shapes.append(t.shape), t)[1], lambda t: t
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=kind != "exact"), keep:
            if kind == "sparing":
                choose_attention(one, CPU)
            answers[kind] = one(images)
        answers[kind].float().square().sum().backward()
        gradients[kind] = torch.cat([p.grad.flatten() for p in one.parameters()])
        tokens = model.patch_embed.num_patches + 1
        kept[kind] = sum(shape[-2:] == (tokens, tokens) for shape in shapes)
    assert type(one.blocks[0].attn) is SparingAttention
    assert torch.equal(answers["plain"], answers["sparing"])
    off = {k: (gradients[k] - gradients["exact"]).norm() for k in ("plain", "sparing")}
    assert off["sparing"] < 1.2 * off["plain"]
    assert kept["plain"] >= 12 and kept["sparing"] == 0


def test_sparing_attention_is_timms_own_in_float32(setting: Setting) -> None:
    model, _ = classifier(setting, 0.0)
    images = torch.randn(2, 3, setting.sizes.side, setting.sizes.side)
    expected = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        choose_attention(model, CPU)
    choose_attention(model, CPU)
    assert torch.equal(model(images), expected)


def test_reflection_stays_narrow_under_autocast() -> None:
    x = torch.randn(1, 2, 5, 5).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = ReflectionPad2d(2)(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, nn.functional.pad(x, (2, 2, 2, 2), mode="reflect"))
    y.sum().backward()
    assert x.grad is not None and float(x.grad.sum()) == y.numel()


def test_phantom_store_has_its_pictures_in_order(tmp_path: Path) -> None:
    made = phantom_store(tmp_path / "made", 8, 64, 32)
    assert [path.stem for path in made.pictures] == made.store.rows["id"].to_list()
    splits = made.store.rows["split"].to_list()
    assert splits.count(Split.TRAIN.value) == 4
    assert made.store.image(0).shape == (32, 32)  # type: ignore[union-attr]
    assert not np.isnan(made.store.label_values).any()


def test_estimates_are_of_the_papers_runs() -> None:
    found = estimates(BOUNDS)
    assert [one.recipe for one in found] == list(RECIPES)
    assert all(one.here > one.gpu > one.gpus > 0 for one in found)


@pytest.mark.parametrize("command", [(), ("finetune",), ("bench",), ("bench", "scale")])
def test_help_opens_without_torch(command: tuple[str, ...]) -> None:
    look = "import sys; from radlearn.cli import main; main(sys.argv[1:]); "
    look += "print([name for name in ('torch', 'timm', 'numpy') if name in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", look, *command, "--help"], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "[]"


def test_every_figure_has_its_function() -> None:
    from typing import get_args

    from radlearn.bench.config import FigureName

    assert tuple(FIGURES) == get_args(FigureName)
