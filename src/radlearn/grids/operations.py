"""Multiplications and additions of the published architectures, counted from their real layers.

Nothing is computed: the networks stand on torch's meta device, where tensors have shapes alone, and
`FlopCounterMode` adds up matrix products, convolutions and attention, forward and backward. Norms,
activations and optimisers are left out. The count is of the work that the papers describe, every
patch decoded and every word classified, so that leaving out needless work shows as a gain.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from radlearn.adapters import TunerConfig, adapter_named
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.mrm import MRM, SIZES, mask_patches
from radlearn.models.report_decoder import ReportDecoder
from radlearn.models.segmenter import Segmenter, build_segmenter
from radlearn.translation.modes import MODES, Size
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.terms import translation_phases

VIT = "vit_base_patch16_224"
MASK_RATIO = 0.75


def counted(work: Callable[[], Any]) -> int:
    """Operations of `work`; a multiplication and its addition are two.

    Attention is done in plain matrix products, of which every kind of it is made.
    """
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return int(counter.get_total_flops())


def inference(architecture: str = VIT, side: int = 224, labels: int = 14) -> int:
    """Operations of a classifier's answer, an image."""
    model = _classifier(architecture, side, labels)
    images = _images(model, side)
    return counted(lambda: model(images))


def finetuning_step(
    tuner: str, rank: int = 4, architecture: str = VIT, side: int = 224, labels: int = 14
) -> int:
    """Operations of an image of a training step, forward and backward.

    Args:
        tuner: a name of `ADAPTERS`; what it freezes needs no gradient of its weights.
    """
    # a tuner takes a fingerprint of the weights, so there have to be some, whatever they are
    model = _classifier(architecture, side, labels).to_empty(device="cpu")
    model = adapter_named(tuner).attach(model, TunerConfig(tuner, rank)).to("meta")
    images = _images(model, side)
    return counted(lambda: _backward(model(images)))


def pretraining_step(size: str = "base") -> int:
    """Operations of a record, image and report, of a step of masked record modeling.

    As the authors' code does it: the image decoder predicts all patches, and the report decoder
    reads its full length and classifies every place of it.
    """
    config = SIZES[size]
    with torch.device("meta"):
        model = MRM(config)
        images = _images(model.encoder, model.image_size)
        noise = torch.zeros(1, model.patch_count)

    def see() -> None:
        masking = mask_patches(noise, MASK_RATIO)
        latent = model.encode(images, masking)
        assert model.image_decoder is not None
        _backward(model.image_decoder.every_patch(latent, masking), model.summary(latent))

    # which places are wanted is read off the tokens, so these are real; the rest is small
    assert config.report_decoder is not None
    report = ReportDecoder(config.report_decoder, model.encoder.embed_dim)
    tokens = torch.ones(1, config.report_decoder.positions, dtype=torch.int64)
    z = torch.zeros(1, config.report_decoder.width, requires_grad=True)

    def read() -> None:
        _backward(report(tokens, torch.ones_like(tokens, dtype=torch.bool), z))

    return counted(see) + counted(read)


def segmentation_step(side: int = 512, width: int = 512) -> int:
    """Operations of an image of a training step of MRM's UPerNet, with its auxiliary head."""
    model, images = _segmenter(side, width)
    return counted(lambda: _backward(*model.with_auxiliary(images)))


def segmentation(side: int = 512, width: int = 512) -> int:
    """Operations of a mask, whole image at once."""
    model, images = _segmenter(side, width)
    with torch.no_grad():
        return counted(lambda: model(images))


def translation_step(mode: str, host: str = "resnet", size: Size = "paper", side: int = 256) -> int:
    """Operations of a step of translation of one pair of slices: generators, R and critics."""
    with torch.device("meta"):
        nets = build_networks(MODES[mode], NetworksConfig(host, size, side=side))
        batch = dict.fromkeys(("source", "target"), torch.zeros(1, 1, side, side))
        phases = translation_phases(nets, MODES[mode], host)

        def step() -> None:
            carry: dict[str, Any] = {}
            for phase in phases:
                terms, carry = phase.terms(batch, carry)
                _backward(*terms.values())

        return counted(step)


def translation_forward(size: Size = "paper", side: int = 256) -> Mapping[str, int]:
    """Operations of one pass through G, D and R of the host resnet, a slice."""
    with torch.device("meta"), torch.no_grad():
        nets = build_networks(MODES["nc+r"], NetworksConfig(size=size, side=side))
        a = torch.zeros(1, 1, side, side)
        given = {"G_ab": (a,), "D_b": (a,), "R": (a, a)}
        return {name: counted(partial(nets[name], *given[name])) for name in nets}


def _segmenter(side: int, width: int) -> tuple[Segmenter, Tensor]:
    with torch.device("meta"):
        model = build_segmenter(BackboneConfig(VIT, {"img_size": side}), 1, width)
    return model, _images(model.backbone, side)


def _classifier(architecture: str, side: int, labels: int) -> nn.Module:
    with torch.device("meta"):
        return build_classifier(BackboneConfig(architecture, {"img_size": side}), labels)


def _images(model: nn.Module, side: int) -> Tensor:
    channels = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels
    return torch.zeros(1, channels, side, side, device="meta")


def _backward(*outputs: Tensor) -> None:
    torch.stack([output.float().sum() for output in outputs]).sum().backward()
