"""UPerNet on every family of backbones."""

import copy

import pytest
import torch
from torch import nn

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, build_backbone
from radlearn.models.segmenter import Levels, build_segmenter, multi_scale

FAMILIES: dict[str, BackboneConfig] = {
    "vit": BackboneConfig(
        "vit_tiny_patch16_224", {"img_size": 64, "depth": 4, "embed_dim": 48, "num_heads": 2}
    ),
    "swin": BackboneConfig(
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 6)},
    ),
    "convnext": BackboneConfig("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}),
}
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_a_logit_a_pixel_from_four_scales(family: str) -> None:
    torch.manual_seed(0)
    for classes, outputs in ((1, 1), (3, 4)):
        model = build_segmenter(FAMILIES[family], classes, width=16).eval()
        maps = model.decoder.maps(multi_scale(model.backbone, IMAGES, model.levels))
        assert [64 // one.shape[-1] for one in maps] == [4, 8, 16, 32]
        assert model(IMAGES).shape == (2, outputs, 64, 64)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_answered_alike_in_any_batch_and_mode(family: str) -> None:
    torch.manual_seed(0)
    model = build_segmenter(FAMILIES[family], 1, width=16)
    both = model.train()(IMAGES)
    alone = model.eval()(IMAGES[:1])
    torch.testing.assert_close(both[:1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_the_decoder_learns(family: str) -> None:
    torch.manual_seed(0)
    model = build_segmenter(FAMILIES[family], 2, width=16)
    sum(one.square().mean() for one in model.with_auxiliary(IMAGES)).backward()
    still = [
        name
        for name, p in model.decoder.named_parameters()
        if p.grad is None or (not p.grad.any() and name.endswith("weight"))
    ]
    assert still == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backbone_keeps_timms_names(family: str) -> None:
    model = build_segmenter(FAMILIES[family], 1, width=16)
    assert (
        model.backbone.state_dict().keys() == build_backbone(FAMILIES[family]).state_dict().keys()
    )
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "decoder"}


def test_a_vit_of_twelve_blocks_is_read_where_mrm_reads_it() -> None:
    with torch.device("meta"):
        base = build_backbone(BackboneConfig("vit_base_patch16_224"))
        shallow = build_backbone(BackboneConfig("vit_base_patch16_224", {"depth": 2}))
    assert Levels(base).indices == [3, 5, 7, 11]
    levels = Levels(shallow)
    assert [levels.indices[at] for at in levels.at] == [0, 0, 0, 1]


def test_no_norm_depends_on_the_batch() -> None:
    model = build_segmenter(FAMILIES["vit"], 1, width=32)
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_a_copy_answers_alike_and_on_its_own() -> None:
    torch.manual_seed(0)
    model = build_segmenter(FAMILIES["vit"], 1, width=16).eval()
    copied, before = copy.deepcopy(model), model(IMAGES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(copied(IMAGES), before)


def test_any_size_of_image_is_answered_by_stages() -> None:
    model = build_segmenter(FAMILIES["convnext"], 1, width=16).eval()
    assert model(torch.rand(1, 3, 96, 72)).shape == (1, 1, 96, 72)


@pytest.mark.parametrize(
    ("config", "classes", "reason"),
    [
        (BackboneConfig("visformer_tiny", {"img_size": 64}), 1, "strides"),
        (BackboneConfig("visformer_tiny", {"img_size": 64}), 0, "no class"),
    ],
)
def test_what_cannot_segment_is_refused(config: BackboneConfig, classes: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        build_segmenter(config, classes)
