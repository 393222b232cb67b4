"""Every family of backbones: its sizes, channels, head and layers, and what spoke for a label."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from radlearn.engine.optim import parameter_groups
from radlearn.errors import InputError
from radlearn.finetuning.features import start_head
from radlearn.models.attention import choose_attention
from radlearn.models.backbone import (
    BackboneConfig,
    backbone_family,
    build_backbone,
    build_classifier,
)
from radlearn.models.channels import grey_input
from radlearn.models.heads import classifier, has_plain_head, head_logits, head_norm, pooled
from radlearn.models.image_size import at_size, default_side
from radlearn.models.model_folders import load_model, save_model
from radlearn.models.saliency import class_activation
from radlearn.models.weights import fitted, load_backbone
from radlearn.records.transforms import Preprocessing, normalised

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
SWIN = {"img_size": 64, "patch_size": 2, "embed_dim": 8, "depths": (1, 2), "num_heads": (2, 2)}
CONVNEXT = {"depths": (1, 2, 1, 1), "dims": (8, 12, 16, 20)}
BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", VIT),
    "dinov2": ("vit_small_patch14_reg4_dinov2", VIT | {"img_size": 56, "patch_size": 14}),
    "dinov3": ("vit_small_patch16_dinov3", VIT),
    "swin": ("swin_tiny_patch4_window7_224", SWIN | {"window_size": 4}),
    "swinv2": ("swinv2_tiny_window8_256", SWIN | {"window_size": 8}),
    "convnext": ("convnext_tiny", CONVNEXT),
    "convnextv2": ("convnextv2_tiny", CONVNEXT),
    "convnext norm first": ("convnext_tiny_hnf", CONVNEXT),
}
every = pytest.mark.parametrize("name", BACKBONES)


def config(name: str, **more: Any) -> BackboneConfig:
    architecture, arguments = BACKBONES[name]
    return BackboneConfig(architecture, arguments | more)


def side(name: str) -> int:
    return BACKBONES[name][1].get("img_size", 64)


def drawn(name: str, labels: int = 3, **more: Any) -> Any:
    """A classifier whose every weight is drawn."""
    torch.manual_seed(0)
    model = build_classifier(config(name, **more), labels)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.eval()


def images(name: str, channels: int = 3, count: int = 2) -> Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, side(name), side(name), generator=drawn)


@every
def test_the_family_is_known(name: str) -> None:
    expected = name.split()[0].removesuffix("v2")
    expected = "vit" if expected.startswith("dino") else expected
    assert backbone_family(drawn(name)) == expected
    assert backbone_family(timm.create_model("resnet10t")) == "other"


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_classifier_is_timms_own(tmp_path: Path, name: str, channels: int) -> None:
    chosen, model = config(name, in_chans=channels), drawn(name, in_chans=channels)
    save_model(tmp_path, model, chosen, Preprocessing(side(name), 0.4, 0.2, channels))
    expected = model(images(name, channels))
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert torch.equal(theirs(images(name, channels)), expected)
    assert torch.equal(load_model(tmp_path)[0](images(name, channels)), expected)


@every
def test_a_backbone_goes_into_a_classifier_whole(name: str) -> None:
    model, plain = drawn(name), build_backbone(config(name))
    plain.load_state_dict(model.state_dict(), strict=False)
    fresh = build_classifier(config(name), 3)
    unused = load_backbone(fresh, plain.state_dict())
    assert all(key.startswith(("head.", "norm.")) for key in unused)
    head = [key for key in fresh.state_dict() if key.startswith(("head", "fc_norm"))]
    fresh.load_state_dict({key: model.state_dict()[key] for key in head}, strict=False)
    assert torch.equal(fresh.eval()(images(name)), model(images(name)))


@every
def test_pooled_features_and_head_make_the_whole_models_logits(name: str) -> None:
    model = drawn(name)
    assert has_plain_head(model)
    seen = pooled(model, model.forward_features(images(name)))
    assert seen.shape == (2, classifier(model).in_features)
    torch.testing.assert_close(head_logits(model, seen), model(images(name)))


def test_a_head_with_a_hidden_layer_is_not_plain() -> None:
    hidden = BackboneConfig("convnext_large_mlp", CONVNEXT | {"head_hidden_size": 24})
    assert not has_plain_head(build_classifier(hidden, 2))


@every
def test_a_head_starts_from_the_records(name: str) -> None:
    model = drawn(name)
    seen = pooled(model, model.forward_features(images(name, count=16))).detach()
    bias = torch.tensor([-1.0, 0.0, 2.0])
    start_head(model, seen, bias)
    assert torch.equal(classifier(model).bias, bias)
    if (norm := head_norm(model)) is None:
        return
    inside = nn.functional.layer_norm(seen, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(inside.mean(0), torch.zeros(seen.shape[1]), atol=1e-4, rtol=0)


@every
def test_saliency_lies_on_the_image_and_follows_the_label(name: str) -> None:
    model = drawn(name, labels=6)
    heats = [class_activation(model, images(name)[:1], label) for label in range(6)]
    for heat in heats:
        assert heat.shape == (side(name), side(name)) and heat.min() >= 0
    assert any(not np.allclose(heats[0], other) for other in heats)


def test_saliency_without_a_map_is_refused() -> None:
    model = timm.create_model("mixer_s32_224", num_classes=2).eval()
    model.stem = nn.Sequential(model.stem)
    with pytest.raises(InputError, match="no map of features"):
        class_activation(model, torch.randn(1, 3, 224, 224), 0)


@every
def test_one_channel_is_the_same_as_three_with_statistics_of_their_own(name: str) -> None:
    colours = Preprocessing(side(name), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    three = drawn(name).double()
    state, grey = grey_input(three.state_dict(), three, colours)
    assert (grey.channels, grey.mean, grey.std) == (1, pytest.approx(0.449), pytest.approx(0.226))
    one = build_classifier(config(name, in_chans=1), 3).double().eval()
    one.load_state_dict(state)
    picture = torch.rand(2, 1, side(name), side(name)) * 255
    seen = [normalised(picture, pre).double() for pre in (colours, grey)]
    torch.testing.assert_close(one(seen[1]), three(seen[0]), rtol=1e-4, atol=1e-4)
    back = build_classifier(config(name), 3).double().eval()
    load_backbone(back, state)
    torch.testing.assert_close(fitted(state, back), fitted(back.state_dict(), back))


def test_a_stem_that_pads_keeps_its_three_channels() -> None:
    stem = BackboneConfig("convnext_atto_ols", {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)})
    model = build_classifier(stem, 2)
    colours = Preprocessing(64, (0.4, 0.5, 0.6), 0.2)
    with pytest.raises(InputError, match="--channels"):
        grey_input(model.state_dict(), model, colours)
    grey_input(model.state_dict(), model, colours.averaged)


@pytest.mark.parametrize(
    ("name", "wanted", "windows"),
    [("swin", 96, 6), ("swin", 32, 2), ("swinv2", 96, 12), ("swin", 64, 4), ("swin", 88, 5)],
)
def test_a_swins_windows_keep_their_share_of_the_image(
    name: str, wanted: int, windows: int
) -> None:
    chosen = at_size(config(name), wanted)
    assert chosen.model_args.get("window_size", windows) == windows
    model = build_classifier(chosen, 3)
    timms = build_backbone(config(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm's own interpolation
        timms.set_input_size((wanted, wanted))
    shapes = {key: value.shape for key, value in timms.state_dict().items()}
    assert shapes.items() <= {key: value.shape for key, value in model.state_dict().items()}.items()
    assert model.eval()(torch.randn(1, 3, wanted, wanted)).shape == (1, 3)


def test_position_biases_follow_the_window() -> None:
    small = build_classifier(config("swin"), 3)
    large = build_classifier(at_size(config("swin"), 96), 3)
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    state = small.state_dict()
    rows = torch.arange(-3.0, 4.0)
    state[key] = (rows[:, None] + 10 * rows[None, :]).reshape(-1, 1).expand(-1, 2).contiguous()
    load_backbone(large, state)
    found = large.state_dict()[key][:, 0].reshape(11, 11)
    inner = torch.arange(-5.0, 6.0) * 7 / 11  # the same places of a larger window
    expected = inner[:, None] + 10 * inner[None, :]
    torch.testing.assert_close(found[2:-2, 2:-2], expected[2:-2, 2:-2], rtol=0, atol=0.6)
    state[key] = torch.zeros(48, 2)
    with pytest.raises(InputError, match="square"):
        load_backbone(large, state)


@every
def test_another_size_is_another_size(name: str) -> None:
    wanted = side(name) * 2
    model = build_classifier(at_size(config(name), wanted), 3).eval()
    load_backbone(model, drawn(name).state_dict())
    assert model(torch.randn(1, 3, wanted, wanted)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "wanted", "said"),
    [
        ("dinov2", 60, "nearest sizes are 56 or 70"),
        ("dinov2", 5, "nearest sizes are 14"),
        ("vit", 36, "nearest sizes are 32 or 40"),
        ("dinov3", 33, "nearest sizes are 32 or 40"),
        ("swin", 65, "nearest sizes are 64 or 66"),
        ("convnext", 31, "choose 32 or more"),
    ],
)
def test_sizes_that_cannot_be_are_refused_with_the_nearest(
    name: str, wanted: int, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        at_size(config(name), wanted)
    assert "\n" not in str(caught.value)


def test_the_size_is_the_architectures_own() -> None:
    sides = {"vit_small_patch14_dinov2": 518, "swinv2_tiny_window8_256": 256, "convnext_tiny": 224}
    assert {name: default_side(BackboneConfig(name)) for name in sides} == sides
    assert default_side(config("vit")) == 32


@every
def test_layers_learn_slower_the_lower_they_are(name: str) -> None:
    model = drawn(name)
    names = {id(p): key for key, p in model.named_parameters()}
    scale = {
        names[id(p)]: group["lr_scale"]
        for group in parameter_groups(model, 0.05, 0.5)
        for p in group["params"]
    }
    assert scale.keys() == set(names.values())
    assert {scale[key] for key in scale if key.startswith(("head", "fc_norm"))} == {1.0}
    first = {scale[key] for key in scale if key.startswith(("patch_embed", "stem"))}
    assert first == {min(scale.values())}
    blocks = [key for key in scale if key.endswith("mlp.fc2.weight")]
    assert [scale[key] for key in blocks] == [0.5**at for at in range(len(blocks), 0, -1)]


@every
def test_training_in_bfloat16_gives_finite_gradients(name: str) -> None:
    model = drawn(name).train()
    choose_attention(model, torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        model(images(name)).square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        choose_attention(model.eval(), torch.device("cpu"))
        found = model(images(name)).float()
    with torch.inference_mode():
        expected = model(images(name))
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


@every
def test_pixels_may_lie_channels_last(name: str) -> None:
    model = drawn(name)
    expected = model(images(name))
    last = model.to(memory_format=torch.channels_last)
    seen = images(name).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last(seen), expected, rtol=1e-4, atol=1e-5)
