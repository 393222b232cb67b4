"""Which timm models can be fine-tuned: those whose head can be told from their backbone."""

import pytest

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, build_classifier


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
def test_a_model_that_could_not_be_saved_is_refused_before_training(name: str) -> None:
    with pytest.raises(InputError, match="choose a ViT, Swin or ConvNeXt"):
        build_classifier(BackboneConfig(name), labels=2)


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_the_families_that_are_promised_are_built(name: str) -> None:
    assert build_classifier(BackboneConfig(name), labels=2).num_classes == 2
