"""Swin, ConvNeXt, DINOv2 and DINOv3 from elsewhere compute what their own library computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.models.backbone import build_classifier
from radlearn.models.checkpoints import open_checkpoint, read_checkpoint
from radlearn.models.heads import classifier
from radlearn.models.imported import Imported
from radlearn.models.model_folders import read_model
from radlearn.models.vit_shapes import form
from radlearn.models.weights import load_backbone

DINOV2 = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 14,
}
VIT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
DINOV3 = {**VIT, "image_size": 32, "patch_size": 16, "intermediate_size": 96}
SWIN = {"patch_size": 2, "embed_dim": 12, "depths": [1, 2], "num_heads": [2, 3], "image_size": 32}
CONVNEXT = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 1, 1]}

THEIRS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dinov2": ("Dinov2Config", "Dinov2Model", DINOV2),
    "dinov2 gated": (
        "Dinov2Config",
        "Dinov2Model",
        {**DINOV2, "use_swiglu_ffn": True},
    ),
    "dinov2 registers": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
        DINOV2,
    ),
    "dinov3": ("DINOv3ViTConfig", "DINOv3ViTModel", {**DINOV3, "num_register_tokens": 4}),
    "dinov3 gated": (
        "DINOv3ViTConfig",
        "DINOv3ViTModel",
        {**DINOV3, "use_gated_mlp": True, "hidden_act": "silu"},
    ),
    "swin": ("SwinConfig", "SwinForImageClassification", {**SWIN, "window_size": 4}),
    "swinv2": ("Swinv2Config", "Swinv2ForImageClassification", {**SWIN, "window_size": 4}),
    "swinv2 of other windows": (
        "Swinv2Config",
        "Swinv2ForImageClassification",
        {**SWIN, "window_size": 4, "pretrained_window_sizes": [3, 3]},
    ),
    "convnext": ("ConvNextConfig", "ConvNextForImageClassification", CONVNEXT),
    "convnextv2": ("ConvNextV2Config", "ConvNextV2ForImageClassification", CONVNEXT),
    "dinov3 convnext": ("DINOv3ConvNextConfig", "DINOv3ConvNextModel", CONVNEXT),
}


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn, none left at a value that all models start from."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and "coords_table" not in name:
                tensor.normal_(std=0.2)
                if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                    tensor.add_(1)
    return model.eval()


def theirs(kind: str, folder: Path, **more: Any) -> nn.Module:
    config, model, arguments = THEIRS[kind]
    made = getattr(transformers, config)(**arguments | more)
    donor = drawn(getattr(transformers, model)(made))
    donor.save_pretrained(folder)
    return donor


def backbone(path: Path, **given: Any) -> Imported:
    found = open_checkpoint(path, **given)
    assert isinstance(found, Imported)
    return found


def made(found: Imported) -> Any:
    model = found.config.create(**form(found.state, found.config.architecture))
    model.load_state_dict(found.state)
    return model.eval()


def images(side: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", THEIRS)
def test_hugging_faces_folder_computes_the_same(tmp_path: Path, kind: str) -> None:
    donor = theirs(kind, tmp_path)
    found = backbone(tmp_path)
    assert found.unmatched == ()
    assert all("mask_token" in name for name in found.kept)
    model = made(found)
    side = 28 if kind.startswith("dinov2") else 64 if "convnext" in kind else 32
    with torch.no_grad():
        expected = donor(images(side))
        if hasattr(expected, "logits"):
            ours = model(images(side))
            torch.testing.assert_close(ours, expected.logits, rtol=1e-5, atol=1e-5)
            return
        ours = model.forward_features(images(side))
        if ours.ndim == 4:  # a ConvNeXt norms what it pooled
            ours, known = model.forward_head(ours, pre_logits=True), expected.pooler_output
        else:
            known = expected.last_hidden_state
    torch.testing.assert_close(ours, known, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", THEIRS)
def test_a_classifier_starts_from_it(tmp_path: Path, kind: str) -> None:
    theirs(kind, tmp_path)
    found = read_checkpoint(tmp_path)
    model = build_classifier(found.config, 2)
    unused = load_backbone(model, found.state)
    assert all(name.startswith(("head.", "norm.")) for name in unused)
    name = next(name for name in found.state if name.endswith("mlp.fc2.weight"))
    assert torch.equal(model.state_dict()[name], found.state[name])
    assert classifier(model).out_features == 2


def test_a_dinov3_without_biases_is_timms_without_them(tmp_path: Path) -> None:
    assert theirs("dinov3", tmp_path / "a")
    assert backbone(tmp_path / "a").config.architecture == "vit_small_patch16_dinov3_qkvb"
    donor = theirs("dinov3", tmp_path / "b", query_bias=False, value_bias=False)
    found = backbone(tmp_path / "b")
    assert found.config.architecture == "vit_small_patch16_dinov3"
    with torch.no_grad():
        ours, known = made(found).forward_features(images()), donor(images()).last_hidden_state
    torch.testing.assert_close(ours, known, rtol=1e-5, atol=1e-5)


def test_dinov2s_own_file_with_registers_is_read(tmp_path: Path) -> None:
    donor = theirs("dinov2 registers", tmp_path)
    whole = backbone(tmp_path).state
    own = dict(whole)
    own["register_tokens"] = own.pop("reg_token")
    first = own["cls_token"] - 0.5
    own["cls_token"] = torch.full_like(first, 0.5)
    own["pos_embed"] = torch.cat([first, own["pos_embed"]], 1)
    own["mask_token"] = torch.zeros(1, 48)
    torch.save(own, tmp_path / "dinov2.pth")
    found = backbone(tmp_path / "dinov2.pth", heads=3)
    assert (found.kind, found.unmatched, list(found.kept)) == ("DINOv2", (), ["mask_token"])
    assert found.config.architecture == "vit_base_patch14_reg4_dinov2"
    with torch.no_grad():
        ours, known = made(found).forward_features(images(28)), donor(images(28))
    torch.testing.assert_close(ours, known.last_hidden_state, rtol=1e-5, atol=1e-5)


def test_a_classifier_of_two_tokens_is_kept_and_not_used(tmp_path: Path) -> None:
    _, _, arguments = THEIRS["dinov2"]
    config = transformers.Dinov2Config(**arguments, num_labels=5)
    drawn(transformers.Dinov2ForImageClassification(config)).save_pretrained(tmp_path)
    found = backbone(tmp_path)
    assert {"head.weight", "head.bias"} <= found.kept.keys()
    assert form(found.state)["num_classes"] == 0


BIT = {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
}
FLAT = {"size": {"height": 42, "width": 42}, "resample": 2}
CUT = {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3}
COLOURS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("dinov2", BIT, (224, 256, "bicubic")),
        ("dinov2", FLAT, (42, None, "bilinear")),
        ("convnext", CUT, (224, 256, "bicubic")),
    ],
)
def test_preprocessing_is_what_the_folder_says(
    tmp_path: Path, kind: str, said: dict, expected: tuple
) -> None:
    theirs(kind, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said | COLOURS))
    found = backbone(tmp_path).preprocessing
    assert (found.size, found.resize, found.interpolation) == expected
    assert (found.mean, found.std) == (tuple(COLOURS["image_mean"]), tuple(COLOURS["image_std"]))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("swin", {"use_absolute_embeddings": True}, "use_absolute_embeddings"),
        ("swin", {"depths": [10**9]}, "depths"),
        ("swin", {"embed_dim": 10**9}, "embed_dim"),
        ("swin", {"window_size": 3}, "relative_position_bias_table has the shape"),
        ("swin", {"num_heads": "three"}, "num_heads"),
        ("swinv2", {"hidden_act": "relu"}, "relu"),
        ("convnext", {"depths": [1, 1]}, "4"),
        ("convnext", {"hidden_sizes": [8, 12, 16, 24]}, "has the shape"),
        ("dinov3", {"key_bias": True}, "key_bias"),
        ("dinov3", {"num_hidden_layers": 3}, "lacks"),
        ("dinov3", {"num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_settings_that_are_not_the_weights_are_refused(
    tmp_path: Path, kind: str, change: dict, said: str
) -> None:
    theirs(kind, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=said) as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


SMALL_SWIN = {
    "img_size": 64,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 12,
    "depths": (1, 2),
    "num_heads": (2, 3),
    "num_classes": 5,
}
SMALL_CONVNEXT = {"depths": (1, 2, 1, 1), "dims": (8, 12, 16, 20), "num_classes": 5}


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", SMALL_SWIN),
        ("swin_tiny_patch4_window7_224", SMALL_SWIN | {"in_chans": 1, "qkv_bias": False}),
        ("convnext_tiny", SMALL_CONVNEXT),
        ("convnext_atto", SMALL_CONVNEXT),
        ("convnext_tiny_hnf", SMALL_CONVNEXT),
        ("convnext_large_mlp", SMALL_CONVNEXT | {"head_hidden_size": 24}),
        ("convnextv2_tiny", SMALL_CONVNEXT | {"in_chans": 1}),
    ],
)
def test_timms_own_files_say_what_they_are(
    tmp_path: Path, architecture: str, arguments: dict
) -> None:
    donor = drawn(timm.create_model(architecture, **arguments))
    save_file(dict(donor.state_dict()), tmp_path / "a.safetensors")
    found = backbone(tmp_path / "a.safetensors")
    assert (found.kind, found.unmatched) == ("timm", ())
    channels = arguments.get("in_chans", 3)
    with torch.no_grad():
        assert torch.equal(made(found)(images(64, channels)), donor(images(64, channels)))
    assert found.preprocessing.channels == channels


def test_a_named_architecture_reads_what_shapes_leave_open(tmp_path: Path) -> None:
    name = "swinv2_tiny_window8_256"
    state = dict(timm.create_model(name, depths=(1, 1, 1, 1)).state_dict())
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="--model swinv2"):
        open_checkpoint(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="lacks"):
        open_checkpoint(tmp_path / "a.safetensors", architecture=name)
    with pytest.raises(InputError, match="no architecture"):
        open_checkpoint(tmp_path / "a.safetensors", architecture="swinv3")


@pytest.mark.parametrize("architecture", ["convnext_zepto_rms", "convnext_tiny"])
def test_what_shapes_cannot_tell_asks_for_the_name(tmp_path: Path, architecture: str) -> None:
    state = dict(timm.create_model(architecture, **SMALL_CONVNEXT).state_dict())
    if architecture == "convnext_tiny":
        state["stem.0.weight"] = torch.zeros(8, 3, 3, 3)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="--model"):
        open_checkpoint(tmp_path / "a.safetensors")


def test_names_of_the_first_publication_are_converted_by_timm(tmp_path: Path) -> None:
    donor = drawn(timm.create_model("test_convnext"))
    facebook = {}
    for name, tensor in donor.state_dict().items():
        new = name.replace(".blocks.", ".").replace("conv_dw", "dwconv")
        new = (
            new.replace("mlp.fc", "pwconv").replace("head.norm", "norm").replace("head.fc", "head")
        )
        for at in (1, 2, 3):
            new = new.replace(f"stages.{at}.downsample", f"downsample_layers.{at}")
        facebook[new.replace("stem", "downsample_layers.0")] = tensor
    torch.save({"model": facebook}, tmp_path / "convnext.pth")
    found = backbone(tmp_path / "convnext.pth", architecture="test_convnext")
    assert found.unmatched == ()
    assert found.preprocessing == backbone_of_timm("test_convnext")
    with torch.no_grad():
        assert torch.equal(made(found)(images(64)), donor(images(64)))


def test_swins_own_names_are_converted_by_timm(tmp_path: Path) -> None:
    donor = drawn(timm.create_model("swin_tiny_patch4_window7_224"))
    first = {}
    for name, tensor in donor.state_dict().items():
        new = name.replace("head.fc.", "head.")
        for at in (1, 2, 3):
            new = new.replace(f"layers.{at}.downsample", f"layers.{at - 1}.downsample")
        first[new] = tensor
    first["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    torch.save({"model": first}, tmp_path / "swin.pth")
    found = backbone(tmp_path / "swin.pth", architecture="swin_tiny_patch4_window7_224")
    assert found.unmatched == ()
    expected = donor.state_dict()
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[name], expected[name]) for name in expected)


def test_a_name_does_not_hide_what_a_published_file_is(tmp_path: Path) -> None:
    sizes = {"img_size": 32, "depth": 1, "num_classes": 3, "global_pool": "avg"}
    state = timm.create_model("vit_tiny_patch16_224", **sizes).state_dict()
    torch.save({"model": state}, tmp_path / "tuned.pth")
    found = backbone(tmp_path / "tuned.pth", architecture="vit_base_patch16_224")
    assert found.kind == "fine-tuned ViT"
    clip = "vit_base_patch32_clip_quickgelu_224"
    small = {"embed_dim": 192, "depth": 1, "num_heads": 3, "num_classes": 3}
    other = timm.create_model(clip, **small)
    torch.save(other.state_dict(), tmp_path / "clip.pth")
    with pytest.raises(InputError, match="lacks"):
        open_checkpoint(tmp_path / "clip.pth", architecture=clip)


def backbone_of_timm(name: str) -> Any:
    from radlearn.models.model_folders import published_preprocessing

    return published_preprocessing(timm.get_pretrained_cfg(name).to_dict())


def test_a_folder_that_says_otherwise_than_model_is_refused(tmp_path: Path) -> None:
    theirs("convnext", tmp_path)
    with pytest.raises(InputError, match="not a swin_tiny_patch4_window7_224"):
        read_checkpoint(tmp_path, "swin_tiny_patch4_window7_224")


def test_an_imported_family_is_a_folder_that_timm_loads(tmp_path: Path) -> None:
    from radlearn.exchange.importing import ImportConfig, import_weights

    donor = theirs("swin", tmp_path / "theirs")
    import_weights(ImportConfig(tmp_path / "theirs", tmp_path / "ours"))
    model = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images()), donor(images()).logits, rtol=1e-5, atol=1e-5)
    assert read_model(tmp_path / "ours").extra["imported"] == "Hugging Face Swin"
