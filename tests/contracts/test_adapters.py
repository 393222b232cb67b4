"""Our own ways of tuning, in depth; what every way has to do is in test_tuners.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import is_head
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.errors import InputError
from radlearn.finetuning.terms import classification_loss

LABELS = ("Pneumonia", "Effusion", "Nodule")
INFO = {"labels": list(LABELS)}
BACKBONES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {
        "img_size": 16,
        "patch_size": 8,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "global_pool": "avg",
    },
    "swin_tiny_patch4_window7_224": {
        "img_size": 16,
        "patch_size": 2,
        "window_size": 4,
        "embed_dim": 12,
        "depths": (1, 1),
        "num_heads": (2, 2),
    },
}
OURS = ("full", "linear", "lora")
every_tuner = pytest.mark.parametrize("tuner", OURS)
every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def plain(backbone: str = "vit_tiny_patch16_224", seed: int = 0, labels: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(backbone, num_classes=labels, **BACKBONES[backbone]).eval()


def images() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def config(tuner: str) -> TunerConfig:
    return TunerConfig(tuner, rank=2, dropout=0.0)


def trained(tuner: str, backbone: str = "vit_tiny_patch16_224", steps: int = 3) -> nn.Module:
    """A tuned model far enough from its start that a lost weight shows in the logits."""
    model = ADAPTERS[tuner].attach(plain(backbone), config(tuner)).train()
    optimizer = build_optimizer(model, OptimConfig("adamw", lr=0.03))
    labels = (torch.arange(12).reshape(4, 3) % 2).float()
    for _ in range(steps):
        optimizer.zero_grad()
        classification_loss(model(images()), labels).backward()
        optimizer.step()
    return model.eval()


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(images())


@every_tuner
@every_backbone
def test_attaching_changes_no_logit(tuner: str, backbone: str) -> None:
    before = logits(plain(backbone))
    after = logits(ADAPTERS[tuner].attach(plain(backbone), config(tuner)))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@every_tuner
@every_backbone
def test_a_step_moves_exactly_what_trains(tuner: str, backbone: str) -> None:
    torch.manual_seed(0)
    model = ADAPTERS[tuner].attach(plain(backbone), config(tuner))
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():  # B = 0 would leave A without a gradient
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, OptimConfig("sgd", lr=1.0))
    model(images()).square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trains
    optimizer.step()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == trains
    assert {name for name, _ in model.named_parameters() if is_head(name)} <= trains


@every_tuner
@every_backbone
def test_base_weights_stay_under_their_names_and_values(tuner: str, backbone: str) -> None:
    start, model = plain(backbone).state_dict(), trained(tuner, backbone)
    found = model.state_dict()
    assert start.keys() <= found.keys()
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(found[name], start[name]) for name in start.keys() - trains)
    if tuner != "full":
        assert all(is_head(name) or name not in start for name in trains)


@every_tuner
@every_backbone
def test_merged_is_a_plain_model_with_the_same_logits(tuner: str, backbone: str) -> None:
    model = trained(tuner, backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged = ADAPTERS[tuner].merge(model)
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fresh = plain(backbone, seed=5)
    fresh.load_state_dict(merged.state_dict(), strict=True)
    torch.testing.assert_close(logits(fresh), logits(model), rtol=1e-5, atol=1e-5)


@every_tuner
@every_backbone
def test_saved_and_loaded_gives_the_same_logits_and_trains_on(
    tuner: str, backbone: str, tmp_path: Path
) -> None:
    model = trained(tuner, backbone)
    ADAPTERS[tuner].save(model, tmp_path, INFO)
    other_head = plain(backbone)
    nn.init.normal_(other_head.get_classifier().weight)
    loaded = ADAPTERS[tuner].load(other_head, tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    for (name, a), (same, b) in zip(
        model.named_parameters(), loaded.named_parameters(), strict=True
    ):
        assert name == same and a.requires_grad == b.requires_grad and torch.equal(a, b)
    facts = json.loads((tmp_path / "radlearn.json").read_text())
    assert facts["labels"] == list(LABELS) and facts["tuner"]["name"] == tuner


@every_tuner
def test_nothing_on_disk_names_a_place_of_this_machine(tuner: str, tmp_path: Path) -> None:
    ADAPTERS[tuner].save(trained(tuner, steps=1), tmp_path / "adapter", INFO)
    for file in (tmp_path / "adapter").glob("*.json"):
        assert str(tmp_path) not in file.read_text() and str(Path.home()) not in file.read_text()


@every_tuner
def test_an_empty_folder_is_no_adapter(tuner: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an adapter"):
        ADAPTERS[tuner].load(plain(), tmp_path)


@every_tuner
def test_a_head_of_other_labels_is_refused(tuner: str, tmp_path: Path) -> None:
    ADAPTERS[tuner].save(trained(tuner, steps=1), tmp_path, INFO)
    with pytest.raises(InputError, match="does not fit"):
        ADAPTERS[tuner].load(plain(labels=5), tmp_path)


@every_tuner
def test_an_adapter_of_another_tuner_is_refused(tuner: str, tmp_path: Path) -> None:
    ADAPTERS[tuner].save(trained(tuner, steps=1), tmp_path, INFO)
    for other in set(OURS) - {tuner}:
        with pytest.raises(InputError, match=tuner):
            ADAPTERS[other].load(plain(), tmp_path)


@pytest.mark.parametrize("tuner", ["linear", "lora"])
def test_another_backbone_is_refused_and_left_alone(tuner: str, tmp_path: Path) -> None:
    model = trained(tuner, steps=1)
    ADAPTERS[tuner].save(model, tmp_path, INFO)
    other = plain(seed=9)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    expected = json.loads((tmp_path / "radlearn.json").read_text())["backbone"]
    with pytest.raises(InputError, match=f"{expected[:16]}.*this one is"):
        ADAPTERS[tuner].load(other, tmp_path)
    after = other.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("tuner", ["linear", "lora"])
def test_the_fingerprint_is_that_of_the_backbone_before_training(
    tuner: str, tmp_path: Path
) -> None:
    model = trained(tuner, steps=1)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # as a run does that keeps frozen weights small
            parameter.data = parameter.data.bfloat16().float()
            assert not is_head(name)
    ADAPTERS[tuner].save(model, tmp_path, INFO)
    ADAPTERS[tuner].load(plain(), tmp_path)


@pytest.mark.parametrize("tuner", ["linear", "lora"])
def test_a_model_without_head_is_refused(tuner: str) -> None:
    with pytest.raises(InputError, match="no head"):
        ADAPTERS[tuner].attach(
            timm.create_model(
                "vit_tiny_patch16_224",
                **BACKBONES["vit_tiny_patch16_224"] | {"global_pool": "token"},
                num_classes=0,
            ),
            config(tuner),
        )


@every_backbone
def test_lora_loads_with_plain_peft_on_plain_timm(backbone: str, tmp_path: Path) -> None:
    model = trained("lora", backbone)
    ADAPTERS["lora"].save(model, tmp_path, INFO)
    loaded = PeftModel.from_pretrained(plain(backbone), tmp_path)
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-5, atol=1e-5)
    merged = loaded.merge_and_unload()
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)


def test_lora_saved_again_by_peft_loads_here(tmp_path: Path) -> None:
    model = trained("lora")
    ADAPTERS["lora"].save(model, tmp_path / "ours", INFO)
    theirs = PeftModel.from_pretrained(plain(), tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "ours" / "radlearn.json").rename(tmp_path / "theirs" / "radlearn.json")
    loaded = ADAPTERS["lora"].load(plain(), tmp_path / "theirs")
    assert torch.equal(logits(loaded), logits(model))


def test_lora_of_vit_base_is_small(tmp_path: Path) -> None:
    base = timm.create_model("vit_base_patch16_224", num_classes=14, global_pool="avg")
    model = ADAPTERS["lora"].attach(base, TunerConfig("lora", rank=4))
    ADAPTERS["lora"].save(model, tmp_path, {"labels": [f"label {i}" for i in range(14)]})
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2_000_000


def test_lora_leaves_the_key_alone() -> None:
    before = plain().get_parameter("blocks.0.attn.qkv.weight").chunk(3)
    merged = ADAPTERS["lora"].merge(trained("lora"))
    after = merged.get_parameter("blocks.0.attn.qkv.weight").chunk(3)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0]) and not torch.equal(before[2], after[2])


def test_lora_drops_out_in_training_only() -> None:
    torch.manual_seed(0)
    model = ADAPTERS["lora"].attach(plain(), TunerConfig("lora", rank=2, dropout=0.5))
    for name, parameter in model.named_parameters():
        if name.endswith("lora_B"):
            nn.init.normal_(parameter)
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert not torch.equal(model(images()), model(images()))


def test_lora_needs_fused_layers() -> None:
    convnext = timm.create_model("convnext_atto", dims=(8, 8, 8, 8), num_classes=3)
    with pytest.raises(InputError, match="lora-all"):
        ADAPTERS["lora"].attach(convnext, config("lora"))


def test_lora_refuses_attention_that_goes_past_the_layer() -> None:
    beit = timm.create_model(
        "beit_base_patch16_224",
        img_size=16,
        patch_size=8,
        embed_dim=12,
        depth=1,
        num_heads=2,
        num_classes=3,
    )
    with pytest.raises(InputError, match="lora-all"):
        ADAPTERS["lora"].attach(beit, config("lora"))


@pytest.mark.parametrize(
    "change",
    [
        {"r": 5},
        {"r": 10**9},
        {"r": "4"},
        {"r": 0},
        {"lora_alpha": None},
        {"lora_alpha": -1},
        {"lora_dropout": 1.0},
        {"peft_type": "VERA"},
        {"target_modules": ["attn.qkv", "head"]},
        {"target_modules": "(a+)+$"},
        {"modules_to_save": None},
        {"bias": "all"},
        {"use_dora": True},
        {"use_rslora": True},
        {"alpha_pattern": {"blocks.0": 1}},
    ],
)
def test_a_configuration_of_something_else_is_refused(change: dict, tmp_path: Path) -> None:
    ADAPTERS["lora"].save(trained("lora", steps=1), tmp_path, INFO)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError):
        ADAPTERS["lora"].load(plain(), tmp_path)


B = "base_model.model.blocks.1.attn.qkv.lora_B.weight"


@pytest.mark.parametrize("break_it", ["key", "nan", "missing", "extra", "shape", "garbage", "gone"])
def test_broken_weights_are_refused_in_one_line(break_it: str, tmp_path: Path) -> None:
    ADAPTERS["lora"].save(trained("lora", steps=1), tmp_path, INFO)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    match break_it:
        case "key":
            tensors[B][30, 0] = 1.0
        case "nan":
            tensors[B][0, 0] = float("nan")
        case "missing":
            del tensors[B]
        case "extra":
            tensors["base_model.model.patch_embed.proj.weight"] = torch.zeros(2)
        case "shape":
            tensors[B] = tensors[B][:, :2].contiguous()
    save_file(tensors, file)
    if break_it == "garbage":
        file.write_bytes(b"\x80\x04not safetensors")
    if break_it == "gone":
        file.unlink()
    with pytest.raises(InputError) as caught:
        ADAPTERS["lora"].load(plain(), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2}', '{"format": 1, "tuner": 3}', "{"])
def test_broken_facts_are_refused(text: str, tmp_path: Path) -> None:
    ADAPTERS["lora"].save(trained("lora", steps=1), tmp_path, INFO)
    (tmp_path / "radlearn.json").write_text(text)
    with pytest.raises(InputError):
        ADAPTERS["lora"].load(plain(), tmp_path)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": float("inf")}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        TunerConfig(**wrong)
