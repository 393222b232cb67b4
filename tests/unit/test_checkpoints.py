"""Weights from elsewhere: told by their content, taken exactly, and never trusted."""

import argparse
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.checkpoints import read_checkpoint
from radlearn.models.imported import CXR_MAE_PREPROCESSING, IMAGENET_GREY, MRM_PREPROCESSING
from radlearn.models.model_folders import save_model
from radlearn.models.mrm import MRM, ImageDecoderConfig, MRMConfig
from radlearn.models.published import export_mrm
from radlearn.models.report_decoder import ReportDecoderConfig
from radlearn.models.starting import start_from
from radlearn.models.weights import load_backbone
from radlearn.records.transforms import Preprocessing

NAME = "vit_tiny_patch16_224"
REPORTS = ReportDecoderConfig(width=16, layers=1, heads=2, mlp=32, words=40, positions=10)
CONFIG = MRMConfig(
    BackboneConfig(NAME, {"img_size": 32, "depth": 1}),
    ImageDecoderConfig(width=16, layers=1, heads=2),
    REPORTS,
)
MAE = replace(CONFIG, image_decoder=ImageDecoderConfig(32, 2, 4, 1), report_decoder=None)


def mrm(seed: int, config: MRMConfig = CONFIG) -> MRM:
    """A model whose every weight is drawn, none left at a value that all models start from."""
    torch.manual_seed(seed)
    model = MRM(config)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.normal_(std=0.1)
    return model


def published(seed: int = 0, **more: int) -> dict[str, Tensor]:
    """As MRM.pth has it: two word matrices, a pooler, and a buffer of position numbers."""
    untied = replace(CONFIG, report_decoder=replace(REPORTS, tied=False, **more))
    state = export_mrm(mrm(seed, untied))
    state["bert_encoder.model.bert.embeddings.position_ids"] = torch.arange(10)[None]
    return state


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[k], expected[k]) for k in expected
    )


def saved(path: Path, content: Any, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", ["model", "state_dict", None])
def test_a_published_mrm_comes_back_exactly(tmp_path: Path, wrap: str, zipped: bool) -> None:
    state = published()
    content = state if wrap is None else {wrap: state, "epoch": 3}
    path = saved(tmp_path / "any.name", content, _use_new_zipfile_serialization=zipped)
    imported = read_checkpoint(path)
    assert (imported.kind, imported.preprocessing) == ("MRM", replace(MRM_PREPROCESSING, size=32))
    assert imported.config == BackboneConfig(
        NAME, {"img_size": 32, "patch_size": 16, "in_chans": 3, "depth": 1}
    )

    model = mrm(1)
    started = start_from(path, model)
    assert "image decoder taken, report decoder taken" in started.summary
    assert started.preprocessing == imported.preprocessing
    assert not model.config.report_decoder.tied
    exported = export_mrm(model)
    del state["bert_encoder.model.bert.embeddings.position_ids"]
    assert equal(exported, state)


def test_one_word_matrix_stays_one(tmp_path: Path) -> None:
    donor, model = mrm(0), mrm(1)
    start_from(saved(tmp_path / "tied.pth", export_mrm(donor)), model)
    assert model.config.report_decoder.tied
    assert equal(model.state_dict(), donor.state_dict())


def test_a_decoder_of_another_shape_starts_anew_and_whole(tmp_path: Path) -> None:
    model = mrm(1)
    report = {k: v.clone() for k, v in model.report_decoder.state_dict().items()}
    started = start_from(saved(tmp_path / "a.pth", published(words=41)), model)
    assert "image decoder taken, report decoder new" in started.summary
    assert equal(model.report_decoder.state_dict(), report)
    assert model.config.report_decoder.tied


def test_a_model_without_decoders_takes_the_backbone(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", published())
    model = mrm(1, replace(CONFIG, image_decoder=None, report_decoder=None))
    start_from(path, model)
    assert equal(model.encoder.state_dict(), mrm(0).encoder.state_dict())


def test_an_mrm_serves_another_image_size(tmp_path: Path) -> None:
    model = mrm(1, replace(CONFIG, backbone=BackboneConfig(NAME, {"img_size": 64, "depth": 1})))
    started = start_from(saved(tmp_path / "a.pth", published()), model)
    assert "image decoder taken, report decoder taken" in started.summary
    assert model.encoder.pos_embed.shape[1] == model.image_decoder.positions.shape[1] == 17


@pytest.mark.parametrize(
    ("arguments", "kind", "preprocessing"),
    [
        ({}, "MAE", IMAGENET_GREY),
        ({"args": argparse.Namespace(datasets_names=[], blr=1e-3)}, "MAE", IMAGENET_GREY),
        (
            {"args": argparse.Namespace(datasets_names=["chexpert", "mimic_cxr"])},
            "CXR-MAE",
            CXR_MAE_PREPROCESSING,
        ),
    ],
)
def test_masked_autoencoders_are_told_by_what_they_were_trained_on(
    tmp_path: Path, arguments: dict, kind: str, preprocessing: Preprocessing
) -> None:
    donor = mrm(0, MAE)
    content = {"model": export_mrm(donor), "optimizer": {"state": {}}, "epoch": 1} | arguments
    path = saved(tmp_path / "MRM.pth", content)
    imported = read_checkpoint(path)
    assert imported.kind == kind
    assert (imported.preprocessing.mean, imported.preprocessing.std) == (
        preprocessing.mean,
        preprocessing.std,
    )
    model = mrm(1)
    started = start_from(path, model)
    assert "image decoder new, report decoder new" in started.summary
    assert (started.preprocessing is None) == (kind == "MAE")
    assert equal(model.encoder.state_dict(), donor.encoder.state_dict())

    same = mrm(1, MAE)
    assert "image decoder taken" in start_from(path, same).summary
    assert equal(same.state_dict(), donor.state_dict())


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_timms_weights_are_taken_from_any_file(tmp_path: Path, form: str, prefix: str) -> None:
    torch.manual_seed(0)
    donor = timm.create_model(NAME, img_size=48, depth=2, in_chans=1)
    state = {prefix + k: v for k, v in donor.state_dict().items()}
    path = tmp_path / "weights"
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    imported = read_checkpoint(path)
    assert imported.kind == "timm"
    assert imported.preprocessing == Preprocessing(48, 0.5, 0.5, 1)
    assert imported.config.model_args == {
        "img_size": 48, "patch_size": 16, "in_chans": 1, "depth": 2
    }  # fmt: skip
    model = build_classifier(imported.config, 3)
    load_backbone(model, imported.state)
    assert torch.equal(model.blocks[1].mlp.fc2.weight, donor.blocks[1].mlp.fc2.weight)


@pytest.mark.parametrize("place", [".", "model"])
def test_our_own_folders_are_read(tmp_path: Path, place: str) -> None:
    donor, model = mrm(0), mrm(1)
    folder = tmp_path / place
    said = Preprocessing(32, 0.3, 0.2)
    save_model(folder, donor.encoder, CONFIG.backbone, said, {"kind": "mrm"})
    save_file(donor.state_dict(), folder / "mrm.safetensors")
    imported = read_checkpoint(tmp_path)
    assert (imported.kind, imported.preprocessing) == ("radlearn", said)
    assert (imported.config, imported.folder) == (CONFIG.backbone, folder)
    start_from(tmp_path, model)
    assert equal(model.state_dict(), donor.state_dict())


class Trap:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_malicious_pickle_is_not_executed(tmp_path: Path, wrapped: bool) -> None:
    trap = Trap(tmp_path / "sprung")
    path = tmp_path / "MRM.pth"
    if wrapped:
        torch.save({"model": published(), "args": trap}, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError, match="more than weights") as caught:
        read_checkpoint(path)
    assert not (tmp_path / "sprung").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"not weights", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x02K\x01.",
        b"\x10\0\0\0\0\0\0\0{" + b"x" * 30, b"\xff" * 8 + b"{}", b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
    ],
)  # fmt: skip
def test_a_file_that_is_no_weights_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_file_is_an_input_error(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path / "MRM.pth", {"model": published()})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cls_token": [1, 2]}, "cls_token as list"),
        ({"cls_token": torch.zeros(1, 1, 192).to_sparse()}, "dense tensor"),
        (
            {"cls_token": torch.zeros(1, 1, 192, dtype=torch.complex64)},
            "cls_token as torch.complex64",
        ),
        ({"pos_embed": torch.zeros(5)}, "not a ViT"),
        ({"pos_embed": torch.zeros(1, 8, 192)}, "positions"),
        ({"patch_embed.proj.weight": torch.zeros(17, 3, 16, 16)}, "17"),
        ({"patch_embed.proj.weight": torch.zeros(192, 3, 5, 7)}, "no squares"),
        ({"blocks.0.attn.qkv.weight": torch.zeros(576, 191)}, r"qkv\.weight has the shape"),
        ({"blocks.0.norm1.bias": torch.full((192,), torch.inf)}, r"blocks\.0\.norm1\.bias"),
        ({"blocks.0.norm1.bias": torch.zeros(1).expand(10**15)}, r"blocks\.0\.norm1\.bias"),
        ({"blocks.0.norm1.bias": torch.zeros(192, device="meta")}, "dense tensor"),
        ({"bert_mlp.bias": torch.full((16,), torch.nan)}, r"bert_mlp\.bias"),
        ({7: torch.zeros(1)}, "by their names"),
    ],
)
def test_tensors_that_are_not_what_they_should_be_are_named(
    tmp_path: Path, changes: dict, said: str
) -> None:
    path = saved(tmp_path / "MRM.pth", {"model": published() | changes})
    with pytest.raises(InputError, match=said) as caught:
        start_from(path, mrm(1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1], {"model": 3}, {"model": {}}, {}, torch.zeros(2)])
def test_what_holds_no_state_dict_is_an_input_error(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError):
        read_checkpoint(saved(tmp_path / "a.pth", content))


def test_nothing_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights at"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(InputError, match="model folder"):
        read_checkpoint(tmp_path)


def test_a_backbone_of_another_depth_is_refused(tmp_path: Path) -> None:
    model = mrm(1, replace(CONFIG, backbone=BackboneConfig(NAME, {"img_size": 32, "depth": 2})))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=r"lack 12 .* blocks\.1\."):
        start_from(saved(tmp_path / "a.pth", published()), model)
    assert equal(model.state_dict(), before)
