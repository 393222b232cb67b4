"""What weights from elsewhere are once they are read: their kind, and what belongs to it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from radlearn.models.backbone import BackboneConfig
from radlearn.models.medpeft import LoRA
from radlearn.models.reggan import Network
from radlearn.records.transforms import Preprocessing

Kind = Literal[
    "MRM",
    "CXR-MAE",
    "MAE",
    "timm",
    "Hugging Face ViT",
    "Hugging Face ViTMAE",
    "DINOv2",
    "Hugging Face DINOv3",
    "Hugging Face Swin",
    "Hugging Face ConvNeXt",
    "MED-PEFT LoRA",
    "fine-tuned ViT",
    "radlearn",
]

MRM_PREPROCESSING = Preprocessing(size=224, mean=0.4978, std=0.2449)
CXR_MAE_PREPROCESSING = Preprocessing(size=224, mean=0.4785, std=0.2834, resize=256)
IMAGENET_GREY = Preprocessing(size=224, mean=0.449, std=0.226, resize=256)
"""ImageNet's colour statistics averaged to grey: what MAE's own weights were trained on."""

NATURAL: tuple[Kind, ...] = (
    *("MAE", "timm", "DINOv2", "Hugging Face ViT", "Hugging Face ViTMAE"),
    *("Hugging Face DINOv3", "Hugging Face Swin", "Hugging Face ConvNeXt"),
)
"""Kinds trained on photographs: MRM normalises radiographs with their own mean all the same."""

GUESSES = {
    "fine-tuned": "preprocessing was guessed: a fine-tuned file does not say whether it started "
    "from MRM or from CXR-MAE; MRM's is taken unless radlearn import is given --preprocessing",
    "bare": "a ViT without decoder and head was taken for MAE's encoder, and its preprocessing "
    "with it; radlearn import with --preprocessing says otherwise",
}
"""What is said where a file does not tell which preprocessing belongs to it."""

KEPT = "kept.safetensors"
"""In a model folder: tensors of the file it came from that nothing here reads, by their names."""


OURS = "radlearn"
"""Key beside an exported state: its kind, preprocessing, heads, alpha and what it saw go there."""

LEARNT_FROM = "learnt_from"
"""In a model folder's and a run's config.json, and under `OURS`: `name`, `licence` and `terms` of
all that the weights saw before."""


@dataclass(frozen=True)
class Imported:
    """A backbone from elsewhere and what came with it.

    Attributes:
        state: the backbone by timm's names, with whatever head it has; a LoRA's weights beside it.
        decoders: by MRM's names here ("image_decoder.", "report_decoder."); empty where none.
        preprocessing: what the backbone was trained on.
        unmatched: names in the file that belong to nothing known.
        folder: the model folder it was read from; None for a file of weights.
        kept: what is known and read by nothing, by the file's names: exported again with the rest.
        lora: not merged into `state`, unless the file's own weights had it merged.
        alpha: of the LoRA, where the file says it.
        notes: what was guessed or changed, to be said.
        learnt_from: what a file that radlearn exported says that its weights saw.
    """

    kind: Kind
    config: BackboneConfig
    preprocessing: Preprocessing
    state: dict[str, Tensor]
    decoders: dict[str, Tensor] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    folder: Path | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)
    lora: LoRA | None = None
    alpha: float | None = None
    notes: tuple[str, ...] = ()
    learnt_from: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class ImportedNetworks:
    """RegGAN's networks by their published names."""

    networks: dict[str, Network]
    notes: tuple[str, ...] = ()
