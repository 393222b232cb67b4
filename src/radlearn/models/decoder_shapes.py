"""Which decoders of MRM and MAE they are, by the shapes of their weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig
from radlearn.models.mrm import MRM, ImageDecoderConfig, MRMConfig
from radlearn.models.published import WORDS
from radlearn.models.report_decoder import ReportDecoderConfig
from radlearn.models.vit_shapes import fits, guessed_heads

HEAD_WIDTHS = {"MRM": 128}
"""Of the image decoder's heads in MRM's published model; in MAE's it is 32."""

IMAGE, REPORT = "image_decoder.", "report_decoder."


def mrm_config(
    backbone: BackboneConfig,
    decoders: Mapping[str, Tensor],
    kind: str,
    image_heads: int | None = None,
    report_heads: int | None = None,
) -> tuple[MRMConfig, tuple[str, ...]]:
    """The networks whose decoders have these shapes; what heads were guessed is said in words.

    Args:
        decoders: by our names.
        kind: of checkpoint: MRM's image decoder has wider heads than MAE's.
        image_heads: of the image decoder, if known.
        report_heads: of the report decoder, if known.

    Raises:
        InputError: the shapes are no such decoders'.
    """
    notes = []
    image = report = None
    try:
        if any(name.startswith(IMAGE) for name in decoders):
            width = len(decoders[f"{IMAGE}embed.weight"])
            heads = image_heads or guessed_heads(width, HEAD_WIDTHS.get(kind, 32))
            if image_heads is None:
                notes.append(f"the image decoder's {heads} heads were guessed; see --decoder-heads")
            image = ImageDecoderConfig(
                width, _layers(decoders, f"{IMAGE}blocks."), heads, _scale(backbone, decoders)
            )
        if any(name.startswith(REPORT) for name in decoders):
            words, width = decoders[WORDS].shape
            heads = report_heads or guessed_heads(width)
            if report_heads is None:
                notes.append(f"the report decoder's {heads} heads were guessed; see --report-heads")
            matrix = decoders.get(f"{REPORT}decoder")
            report = ReportDecoderConfig(
                width,
                _layers(decoders, f"{REPORT}layers."),
                heads,
                len(decoders[f"{REPORT}layers.0.intermediate.dense.weight"]),
                words,
                len(decoders[f"{REPORT}embeddings.position_embeddings.weight"]),
                matrix is None or torch.equal(matrix, decoders[WORDS]),
            )
    except (KeyError, ValueError) as error:
        raise InputError(f"its decoder is not whole: there is no {error}; get it again") from error
    for one in (image, report):
        if one is not None and (one.width % one.heads or one.width < 1):
            raise InputError(f"{one.heads} heads cannot share a decoder's width of {one.width}")
    return MRMConfig(backbone, image, report), tuple(notes)


def fit_decoders(decoders: Mapping[str, Tensor], config: MRMConfig) -> tuple[str, ...]:
    """See that the decoders are there whole; returns names that have no place.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    with torch.device("meta"):
        model: Any = MRM(config)
    left: list[str] = []
    for prefix, part, what in (
        (IMAGE, model.image_decoder, "an image decoder"),
        (REPORT, model.report_decoder, "a report decoder"),
    ):
        if part is not None:
            given = {k.removeprefix(prefix): v for k, v in decoders.items() if k.startswith(prefix)}
            odd = fits(given, part, what)
            left += [prefix + k for k in odd if prefix + k != f"{REPORT}decoder"]
    return tuple(left)


def _layers(decoders: Mapping[str, Tensor], prefix: str) -> int:
    return len({k.removeprefix(prefix).split(".")[0] for k in decoders if k.startswith(prefix)})


def _scale(backbone: BackboneConfig, decoders: Mapping[str, Tensor]) -> int:
    values = len(decoders[f"{IMAGE}predict.weight"])
    patch, channels = backbone.model_args["patch_size"], backbone.model_args["in_chans"]
    scale = round((values / channels) ** 0.5) // patch
    if values != channels * (scale * patch) ** 2 or not scale:
        raise InputError(
            f"its image decoder predicts {values} values a patch, which are no {channels} channels "
            f"of a square of a whole multiple of {patch} pixels"
        )
    return scale
