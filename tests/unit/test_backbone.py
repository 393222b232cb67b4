"""Backbones: as timm makes them, started as MAE, and the same model again from the disk."""

import json
import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, build_classifier, build_encoder
from radlearn.models.model_folders import load_model, read_model, save_model
from radlearn.models.weights import backbone_state, fingerprint, load_backbone
from radlearn.records.transforms import Preprocessing

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
NAME = "vit_tiny_patch16_224"
GREY = Preprocessing(32, 0.5, 0.25)


def config(**more: int) -> BackboneConfig:
    return BackboneConfig(NAME, TINY | more)


def images(channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [0, 5])
def test_a_saved_model_is_timms_own(tmp_path: Path, channels: int, labels: int) -> None:
    chosen = config(in_chans=channels)
    model = (build_classifier(chosen, labels, 0.1) if labels else build_encoder(chosen)).eval()
    nn.init.normal_(model.norm.weight if labels == 0 else model.head.weight)
    save_model(tmp_path, model, chosen, Preprocessing(32, 0.4, 0.2, channels), {"a": [1]})
    expected = model(images(channels))

    by_folder = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(by_folder(images(channels)), expected)
    assert by_folder.pretrained_cfg["mean"] == pytest.approx([0.4] * channels)

    said = json.loads((tmp_path / "config.json").read_text())
    by_name = timm.create_model(said["architecture"], **said["model_args"]).eval()
    by_name.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert torch.equal(by_name(images(channels)), expected)

    again, saved = load_model(tmp_path)
    assert torch.equal(again(images(channels)), expected)
    assert saved.config == chosen
    assert saved.preprocessing == Preprocessing(32, 0.4, 0.2, channels)
    assert saved.extra == {"a": [1]}


def test_a_folder_that_timm_saved_is_read(tmp_path: Path) -> None:
    sizes = {"img_size": 32, "depth": 1}
    model = timm.create_model(NAME, **sizes, num_classes=3).eval()
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True, model_args=sizes)
    again, saved = load_model(tmp_path)
    assert torch.equal(again(images()), model(images()))
    assert (saved.preprocessing.mean, saved.preprocessing.std) == (0.5, 0.5)
    encoder = build_encoder(saved.config)
    load_backbone(encoder, saved.state)
    assert torch.equal(encoder.blocks[0].mlp.fc1.weight, model.blocks[0].mlp.fc1.weight)


def test_positions_are_those_of_mae() -> None:
    table = build_encoder(config(embed_dim=8, img_size=16)).pos_embed
    assert not table.requires_grad
    assert not table[0, 0].any()
    row, column = 1, 0
    expected = [
        *(math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)),
        *(math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)),
    ]
    torch.testing.assert_close(table[0, 1 + 2 * row + column], torch.tensor(expected))


def test_a_classifier_pools_patches_and_starts_as_the_paper_says() -> None:
    model = build_classifier(config(embed_dim=192), 500, drop_path=0.1).eval()
    assert model.pos_embed.requires_grad
    assert model.head.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    assert not model.head.bias.any()
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in model.blocks]
    assert rates == pytest.approx([0.0, 0.1])
    tokens = model.forward_features(images())
    assert isinstance(model.norm, nn.Identity)
    pooled = model.fc_norm(tokens[:, 1:].mean(1))
    torch.testing.assert_close(model.forward_head(tokens, pre_logits=True), pooled)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "convnext_atto"])
def test_other_architectures_can_be_fine_tuned_and_not_pretrained(
    tmp_path: Path, name: str
) -> None:
    windows = {"window_size": 2} if name.startswith("swin") else {}
    chosen = BackboneConfig(name, {"img_size": 64, "depths": [1, 1, 1, 1]} | windows)
    model = build_classifier(chosen, 2, drop_path=0.1).eval()
    save_model(tmp_path, model, chosen, Preprocessing(64, 0.5, 0.25))
    expected = model(images(side=64))
    assert torch.equal(load_model(tmp_path)[0](images(side=64)), expected)
    by_folder = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(by_folder(images(side=64)), expected)
    with pytest.raises(InputError, match="plain ViT"):
        build_encoder(chosen)


def test_an_encoder_goes_into_a_classifier_without_its_last_norm() -> None:
    encoder, model = build_encoder(config()), build_classifier(config(), 4)
    nn.init.normal_(encoder.norm.weight)
    before = model.fc_norm.weight.clone()
    unused = load_backbone(model, encoder.state_dict())
    assert set(unused) == {"norm.weight", "norm.bias"}
    assert torch.equal(model.fc_norm.weight, before)
    assert fingerprint(backbone_state(model)) == fingerprint(backbone_state(encoder))


def test_positions_follow_the_image_size_as_timms_do() -> None:
    encoder, larger = build_encoder(config()), build_classifier(config(img_size=48), 1)
    load_backbone(larger, encoder.state_dict())
    encoder.set_input_size((48, 48))
    assert torch.equal(larger.pos_embed, encoder.pos_embed)


def test_three_channels_fold_into_one_exactly() -> None:
    three = build_encoder(config()).double().eval()
    one = build_encoder(config(in_chans=1)).double().eval()
    load_backbone(one, three.state_dict())
    grey = images(1).double()
    torch.testing.assert_close(one(grey), three(grey.expand(-1, 3, -1, -1)), rtol=1e-12, atol=1e-12)
    back = build_encoder(config()).double().eval()
    load_backbone(back, one.state_dict())
    torch.testing.assert_close(back(grey.expand(-1, 3, -1, -1)), one(grey), rtol=1e-12, atol=1e-12)


def test_a_fingerprint_tells_weights_apart() -> None:
    state = build_encoder(config()).state_dict()
    mark = fingerprint(state)
    assert mark == fingerprint(dict(reversed(state.items())))
    changed = {k: v.clone() for k, v in state.items()}
    changed["cls_token"].view(-1)[0] += 1e-6
    assert fingerprint(changed) != mark
    assert fingerprint({k: v.bfloat16() for k, v in state.items()}) != mark
    moved = {k.replace("blocks.0", "blocks.9"): v for k, v in state.items()}
    assert fingerprint(moved) != mark


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("vit_smal_patch16_224", {}, "near it: vit_small_patch16_224"),
        ("hf-hub:someone/something", {}, "no architecture"),
        (NAME, {"checkpoint_path": "/etc/passwd"}, "checkpoint_path"),
        (NAME, {"pretrained": True}, "pretrained"),
        (NAME, {"img_size": 3}, "whole patches"),
        (NAME, {"img_size": 100}, "multiple of 16"),
        (NAME, {"num_heads": 7}, "cannot be made"),
        (NAME, {"colour": "red"}, "cannot be made"),
        (NAME, {"embed_dim": 18}, "multiple of 4"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(name: str, arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build_encoder(BackboneConfig(name, arguments))
    assert "\n" not in str(caught.value)


def _not_finite(state: dict[str, Tensor]) -> None:
    state["blocks.1.mlp.fc2.bias"][3] = float("nan")


def _of_another_width(state: dict[str, Tensor]) -> None:
    state["blocks.0.mlp.fc1.weight"] = torch.zeros(5, 24)


def _with_odd_positions(state: dict[str, Tensor]) -> None:
    state["pos_embed"] = torch.zeros(1, 15, 24)


def _incomplete(state: dict[str, Tensor]) -> None:
    del state["blocks.1.norm1.weight"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_not_finite, "blocks.1.mlp.fc2.bias"),
        (_of_another_width, r"blocks.0.mlp.fc1.weight of shape \(5, 24\)"),
        (_with_odd_positions, "15 positions"),
        (_incomplete, "lack 1 .* blocks.1.norm1.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_whole(spoil, said: str) -> None:
    state = {k: v.clone() for k, v in build_encoder(config()).state_dict().items()}
    spoil(state)
    model = build_classifier(config(), 2)
    before = fingerprint(model.state_dict())
    with pytest.raises(InputError, match=said):
        load_backbone(model, state)
    assert fingerprint(model.state_dict()) == before


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"architecture": "x"}', '{"num_classes": 0, "architecture": 3}', "{"]
)
def test_a_folder_that_is_no_model_is_an_input_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="model folder"):
        read_model(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_model(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone", "another"])
def test_damaged_weights_are_an_input_error(tmp_path: Path, damage: str) -> None:
    model = build_encoder(config())
    save_model(tmp_path, model, config(), GREY)
    weights = tmp_path / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "gone":
        weights.unlink()
    else:
        save_model(tmp_path / "b", build_encoder(config(depth=1)), config(), GREY)
        weights.write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(InputError):
        load_model(tmp_path)
