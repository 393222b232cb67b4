"""ViTs of any shape and of Hugging Face's names, LoRA files, RegGAN's, and traps in all of them."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from radlearn.errors import InputError
from radlearn.generators.resnet import ResNetConfig, ResNetGenerator
from radlearn.models.backbone import build_classifier
from radlearn.models.checkpoints import open_checkpoint, read_checkpoint
from radlearn.models.decoder_shapes import mrm_config
from radlearn.models.imported import IMAGENET_GREY, MRM_PREPROCESSING, Imported, ImportedNetworks
from radlearn.models.model_folders import load_model
from radlearn.models.mrm import MRM
from radlearn.models.vit_shapes import guessed_heads
from radlearn.models.weights import load_backbone

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
}


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn, none left at a value that all models start from."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.normal_(std=0.1)
    return model.eval()


def vit(**arguments: Any) -> nn.Module:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    return drawn(timm.create_model("vit_base_patch16_224", **(sizes | arguments)))


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def backbone(path: Path, heads: int | None = None) -> Imported:
    found = open_checkpoint(path, heads)
    assert isinstance(found, Imported)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 0, "global_pool": "avg", "fc_norm": False},
        {"num_classes": 5},
        {"num_classes": 5, "global_pool": "avg"},
        {"num_classes": 5, "global_pool": "avg", "in_chans": 1},
        {"num_classes": 5, "mlp_ratio": 2.5, "qkv_bias": False},
        {"num_classes": 5, "init_values": 0.1, "qk_norm": True},
        {"num_classes": 5, "reg_tokens": 4, "no_embed_class": True},
        {"num_classes": 5, "reg_tokens": 4},
        {"num_classes": 5, "class_token": False, "global_pool": "avg"},
        {"num_classes": 5, "embed_dim": 192, "patch_size": 4, "num_heads": 12},
    ],
)
def test_a_vit_of_any_shape_computes_the_same(tmp_path: Path, arguments: dict) -> None:
    from radlearn.exchange.folders import write_backbone

    donor = vit(**arguments)
    heads = arguments.get("num_heads", 3)
    found = backbone(saved(tmp_path / "a", donor.state_dict()), heads)
    assert found.unmatched == ()
    networks, _ = mrm_config(found.config, {}, found.kind)
    write_backbone(tmp_path / "out", found, networks)
    model, _ = load_model(tmp_path / "out")
    images = torch.randn(2, arguments.get("in_chans", 3), 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), donor(images))


def test_heads_that_shapes_leave_open_are_guessed_openly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a", vit(embed_dim=256, num_heads=4).state_dict())
    found = read_checkpoint(path)
    assert found.config.model_args["num_heads"] == 4
    assert "4 heads of 64 were guessed" in capsys.readouterr().err
    assert backbone(path, 8).config.model_args["num_heads"] == 8
    assert backbone(path, 8).notes == ()
    with pytest.raises(InputError, match="7 heads cannot share"):
        open_checkpoint(path, 7)


@pytest.mark.parametrize(("width", "heads"), [(48, 1), (64, 1), (320, 5), (96, 2), (17, 1)])
def test_a_guess_shares_the_width(width: int, heads: int) -> None:
    assert guessed_heads(width) == heads


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_names_are_taken_off_and_said(tmp_path: Path, prefix: str) -> None:
    state = vit().state_dict()
    found = backbone(saved(tmp_path / "a", {prefix + k: v for k, v in state.items()}), 3)
    assert found.state.keys() == state.keys()
    assert all(p in " ".join(found.notes) for p in ("module.", "_orig_mod.") if p in prefix)


def test_half_precision_is_said(tmp_path: Path) -> None:
    state = {k: v.half() for k, v in vit().state_dict().items()}
    assert "float16" in backbone(saved(tmp_path / "a", state), 3).notes[0]


@pytest.mark.parametrize("form", ["folder", "bin", "bare"])
def test_hugging_faces_vit_computes_the_same(tmp_path: Path, form: str) -> None:
    donor = drawn(ViTForImageClassification(ViTConfig(**SIZES, num_labels=3)))
    path = tmp_path / "vit"
    donor.save_pretrained(path)
    if form == "bin":
        state = {"vit.pooler.dense.weight": torch.eye(48)} | donor.state_dict()
        (path / "model.safetensors").unlink()
        saved(path / "pytorch_model.bin", state)
    found = backbone(path / "model.safetensors" if form == "bare" else path, 3)
    assert (found.kind, found.unmatched) == ("Hugging Face ViT", ())
    assert list(found.kept) == (["vit.pooler.dense.weight"] if form == "bin" else [])
    model = found.config.create(num_classes=3).eval()
    model.load_state_dict(found.state)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), donor(images).logits, rtol=1e-5, atol=1e-5)


def test_hugging_faces_folder_says_heads_and_preprocessing(tmp_path: Path) -> None:
    drawn(
        ViTForImageClassification(ViTConfig(**SIZES | {"layer_norm_eps": 1e-12}))
    ).save_pretrained(tmp_path)
    said = {"size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    found = backbone(tmp_path)
    assert found.config.model_args["num_heads"] == 3
    assert (found.preprocessing.mean, found.preprocessing.std) == ((0.1, 0.2, 0.3), 0.4)
    assert any("1e-12" in note for note in found.notes)
    (tmp_path / "preprocessor_config.json").write_text('{"size": []}')
    with pytest.raises(InputError, match="preprocessor_config"):
        open_checkpoint(tmp_path)


def test_hugging_faces_vitmae_becomes_a_mae(tmp_path: Path) -> None:
    decoder = {
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 128,
    }
    config = ViTMAEConfig(**SIZES | {"intermediate_size": 192}, **decoder, mask_ratio=0.75)
    donor = drawn(ViTMAEForPreTraining(config))
    donor.save_pretrained(tmp_path)
    found = backbone(tmp_path)
    assert (found.kind, found.unmatched, found.kept) == ("Hugging Face ViTMAE", (), {})
    assert found.preprocessing.mean == IMAGENET_GREY.mean
    networks, _ = mrm_config(found.config, found.decoders, found.kind, image_heads=2)
    model = MRM(networks).eval()
    encoder = {f"encoder.{k}": v for k, v in found.state.items()}
    model.load_state_dict(encoder | found.decoders)
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    from radlearn.models.mrm import mask_patches

    masking = mask_patches(noise, 0.75)
    with torch.no_grad():
        pred = model.image_decoder.every_patch(model.encode(images, masking), masking)
        expected = donor(images, noise=noise).logits
    torch.testing.assert_close(pred, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "bert"}, "none of vit, vit_mae"),
        ({"model_type": "vit"}, "has no model.safetensors"),
        ({"architecture": "no_such_net", "num_classes": 0}, "does not describe a model"),
        ([], "does not describe a model"),
    ],
)
def test_folders_of_other_things_are_refused(tmp_path: Path, config: Any, said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=said):
        open_checkpoint(tmp_path)


def lora(state: dict[str, Tensor], rank: int = 2, **changes: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(2)
    for at in range(2):
        state[f"blocks.{at}.attn.qkv.lora_A"] = torch.randn(2 * rank, 48)
        state[f"blocks.{at}.attn.qkv.lora_B"] = torch.randn(96, rank)
    return state | {name.replace("__", "."): value for name, value in changes.items()}


def test_a_lora_file_is_known_and_its_backbone_starts_other_runs(tmp_path: Path) -> None:
    donor = vit(num_classes=5, global_pool="avg")
    found = read_checkpoint(saved(tmp_path / "a", {"model": lora(dict(donor.state_dict()))}))
    assert (found.kind, found.lora.rank) == ("MED-PEFT LoRA", 2)
    model = build_classifier(found.config, 2)
    left = load_backbone(model, found.state)
    assert all(name.startswith(("head", "fc_norm")) for name in left)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks__0__attn__qkv__lora_B": torch.zeros(96, 3)}, r"lora_B should be \(96, 2\)"),
        ({"blocks__0__attn__qkv__lora_A": torch.zeros(3, 48)}, "has not both"),
        ({"blocks__1__attn__qkv__lora_B": torch.zeros(144, 4)}, "LoRAs of ranks"),
        ({"blocks__0__attn__qkv__lora_C": torch.zeros(4, 48)}, "no LoRA on a fused"),
        ({"blocks__0__mlp__fc1__lora_A": torch.zeros(4, 48)}, "no LoRA on a fused"),
        ({"blocks__0__attn__qkv__lora_B": torch.zeros(9)}, "has not both"),
    ],
)
def test_a_lora_that_is_none_is_named(tmp_path: Path, changes: dict, said: str) -> None:
    state = lora(dict(vit(num_classes=5, global_pool="avg").state_dict()), **changes)
    with pytest.raises(InputError, match=said):
        open_checkpoint(saved(tmp_path / "a", state))


def test_a_lora_without_its_backbone_asks_for_it(tmp_path: Path) -> None:
    donor = vit(num_classes=5, global_pool="avg")
    state = lora(dict(donor.state_dict()))
    alone = {k: v for k, v in state.items() if "lora" in k or k.startswith(("head", "fc_norm"))}
    path = saved(tmp_path / "a", alone)
    with pytest.raises(InputError, match="--base"):
        open_checkpoint(path)
    mrm = vit(num_classes=0, global_pool="avg", fc_norm=False)
    base = backbone(saved(tmp_path / "b", mrm.state_dict()), 3)
    found = open_checkpoint(path, 3, base)
    assert isinstance(found, Imported) and found.preprocessing.mean == MRM_PREPROCESSING.mean
    assert torch.equal(
        found.state["blocks.1.mlp.fc1.weight"], base.state["blocks.1.mlp.fc1.weight"]
    )


def generator(width: int = 16, blocks: int = 3) -> dict[str, Tensor]:
    return dict(drawn(ResNetGenerator(ResNetConfig(1, 1, 2, width, blocks))).state_dict())


@pytest.mark.parametrize("width", [16, 24])
def test_a_generator_of_any_width_is_known(tmp_path: Path, width: int) -> None:
    found = open_checkpoint(saved(tmp_path / "MRM.pth", generator(width)))
    assert isinstance(found, ImportedNetworks)
    assert found.networks["netG_A2B"].config == ResNetConfig(1, 1, 2, width, 3)
    with pytest.raises(InputError, match="no backbone"):
        read_checkpoint(tmp_path / "MRM.pth")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_head.4.weight": torch.zeros(32, 15, 3, 3)}, "has the shape"),
        ({"model_head.1.weight": torch.zeros(16)}, "begins as RegGAN's G"),
        ({"model_head.1.weight": torch.zeros(0, 1, 7, 7)}, "netG"),
        ({"extra": torch.zeros(1)}, "has not, such as extra"),
        ({"model_tail.7.weight": None}, "model_tail.7.weight"),
        ({"model_body.0.conv_block.5.bias": None}, "lacks 1 of the"),
    ],
)
def test_a_generator_that_is_not_whole_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    state = {k: v for k, v in (generator() | changes).items() if v is not None}
    with pytest.raises(InputError, match=said) as caught:
        open_checkpoint(saved(tmp_path / "netG.pth", state))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks.0.norm1.weight": None}, r"lacks 1 of the .* blocks\.0\.norm1\.weight"),
        ({"blocks.1.mlp.fc2.weight": torch.zeros(48, 191)}, r"fc2\.weight has the shape"),
        ({"pos_embed": torch.zeros(1, 15, 48)}, "positions"),
        ({"pos_embed": torch.zeros(1, 0, 48)}, "positions"),
        ({"patch_embed.proj.weight": torch.zeros(0, 3, 8, 8)}, "cannot be taken"),
        ({"blocks.9999999.norm1.weight": torch.zeros(48)}, None),
        ({"blocks.x.norm1.weight": torch.zeros(48)}, None),
        ({"blocks.999.norm1.weight": torch.zeros(48)}, "lacks"),
        ({"cls_token": torch.zeros(1).expand(1, 1, 10**12)}, "fewer numbers"),
        ({"norm.weight": torch.full((48,), torch.nan)}, "NaN or infinite values in norm.weight"),
        ({"norm.weight": {"nested": torch.zeros(48)}}, "norm.weight as dict"),
        ({"norm.weight": torch.zeros(48, dtype=torch.float8_e4m3fn)}, "float8"),
    ],
)
def test_a_vit_that_is_not_whole_is_refused(
    tmp_path: Path, changes: dict, said: str | None
) -> None:
    state = {k: v for k, v in (dict(vit().state_dict()) | changes).items() if v is not None}
    path = saved(tmp_path / "a", {"model": state})
    if said is None:
        assert backbone(path, 3).unmatched == tuple(changes)
        return
    with pytest.raises(InputError, match=said) as caught:
        open_checkpoint(path, 3)
    assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_more_than_it_is_is_not_opened(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", vit().state_dict())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/99", b"\0" * 10**8)
    with pytest.raises(InputError, match="claims to unpack"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "told",
    [
        5,
        {"kind": ["MRM"], "preprocessing": 3, "alpha": "32", "heads": "3"},
        {"kind": "Trojan", "preprocessing": {"size": 10**9, "mean": 0.5, "std": 0.2}},
        {"preprocessing": {"size": 32, "mean": "0", "std": 0.2}, "alpha": float("nan")},
        {"preprocessing": {"size": 32, "mean": 0.1, "std": 0.2, "evil": 1}, "alpha": -1},
    ],
)
def test_what_a_file_says_of_itself_is_not_believed_blindly(tmp_path: Path, told: Any) -> None:
    found = backbone(saved(tmp_path / "a", {"model": vit().state_dict(), "radlearn": told}))
    assert (found.kind, found.alpha) == ("timm", None)
    assert (found.preprocessing.mean, found.preprocessing.size) == (0.5, 32)
