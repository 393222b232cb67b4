"""Weights from elsewhere: what they are is told by what is in them, never by their file's name.

Files are not trusted: nothing in them is executed, and what is wrong with them is said in a line.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import timm
from torch import Tensor

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, published_preprocessing, read_model
from radlearn.models.huggingface import from_huggingface, huggingface_folder, is_huggingface
from radlearn.models.medpeft import LoRA, split_lora
from radlearn.models.published import from_published, unread
from radlearn.models.reggan import Network, read_networks
from radlearn.models.vit_shapes import VIT, fit_whole, vit_config
from radlearn.models.weight_files import WeightsFile, open_weights
from radlearn.models.weights import read_safetensors
from radlearn.records.transforms import Preprocessing

Kind = Literal[
    "MRM",
    "CXR-MAE",
    "MAE",
    "timm",
    "Hugging Face ViT",
    "Hugging Face ViTMAE",
    "MED-PEFT LoRA",
    "fine-tuned ViT",
    "radlearn",
]

MRM_PREPROCESSING = Preprocessing(size=224, mean=0.4978, std=0.2449)
CXR_MAE_PREPROCESSING = Preprocessing(size=224, mean=0.4785, std=0.2834, resize=256)
IMAGENET_GREY = Preprocessing(size=224, mean=0.449, std=0.226, resize=256)
"""ImageNet's colour statistics averaged to grey: what MAE's own weights were trained on."""

NATURAL: tuple[Kind, ...] = ("MAE", "timm", "Hugging Face ViT", "Hugging Face ViTMAE")
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
"""Key beside an exported state: its kind, preprocessing, heads and alpha travel there."""


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


@dataclass(frozen=True)
class ImportedNetworks:
    """RegGAN's networks by their published names."""

    networks: dict[str, Network]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Imported:
    """Read a backbone: see `open_checkpoint`. What had to be guessed is printed.

    Raises:
        InputError: as `open_checkpoint`, or there are networks of RegGAN, which are no backbone.
    """
    found = open_checkpoint(path)
    if isinstance(found, ImportedNetworks):
        raise InputError(
            f"{path} holds RegGAN's {', '.join(found.networks)}, which is no backbone; "
            "radlearn import with --out makes a model that predicts"
        )
    for note in found.notes:
        console.print(f"{path}: {note}", style="yellow")
    return found


def open_checkpoint(
    path: Path, heads: int | None = None, base: Imported | None = None
) -> Imported | ImportedNetworks:
    """Read what is at `path`: a published checkpoint, or a folder of a run or a model.

    Published are: MRM.pth; MAE and CXR-MAE, with or without decoder; ViTs of timm's names; ViT and
    ViTMAE of Hugging Face's names, and their folders; MED-PEFT's fine-tuned files; RegGAN's
    networks.

    Args:
        heads: of the backbone, where its shapes leave them open.
        base: what a file was trained from that holds a LoRA without its backbone.

    Raises:
        InputError: there is nothing, or nothing that can be understood, or it is unsafe or damaged.
    """
    if path.is_dir():
        return _folder(path, heads)
    if not path.is_file():
        raise InputError(f"there are no weights at {path}; give a file, a run or a model folder")
    return _file(path, open_weights(path), heads, base)


def _folder(path: Path, heads: int | None) -> Imported:
    inside = ("model", "model/backbone", "backbone")
    found = (path / part for part in inside if (path / part / "config.json").exists())
    folder = next(found, path)
    if (theirs := huggingface_folder(folder)) is not None:
        read = _file(theirs.weights, open_weights(theirs.weights), heads or theirs.heads, None)
        assert isinstance(read, Imported)
        note = (
            f"its layer norms add {theirs.eps:g} where timm's add 1e-06: outputs differ by as much"
        )
        return replace(
            read,
            notes=read.notes if theirs.eps == 1e-6 else (*read.notes, note),
            preprocessing=replace(
                theirs.preprocessing or read.preprocessing,
                size=read.preprocessing.size,
                channels=read.preprocessing.channels,
            ),
        )
    saved = read_model(folder)
    decoders = {}
    if (folder / "mrm.safetensors").exists():
        whole = read_safetensors(folder / "mrm.safetensors")
        decoders = {k: v for k, v in whole.items() if "decoder." in k}
    kind: Kind = "radlearn" if saved.extra else "timm"
    if saved.extra.get("imported") in get_args(Kind):
        kind = saved.extra["imported"]
    return Imported(
        kind,
        saved.config,
        saved.preprocessing,
        saved.state,
        decoders,
        folder=folder,
        kept=read_safetensors(folder / KEPT) if (folder / KEPT).exists() else {},
    )


def _file(
    path: Path, file: WeightsFile, heads: int | None, base: Imported | None
) -> Imported | ImportedNetworks:
    try:
        networks = read_networks(file.tensors)
        if networks is not None:
            return ImportedNetworks(networks, file.notes)
        return _backbone(file, heads, base)
    except InputError as error:
        raise InputError(f"{path} cannot be taken: {error}") from error


def _backbone(file: WeightsFile, heads: int | None, base: Imported | None) -> Imported:
    tensors, kept, notes = file.tensors, dict(file.counters), file.notes
    theirs = is_huggingface(tensors)
    if theirs:
        tensors, known = from_huggingface(tensors)
        kept |= known
    tensors, lora = split_lora(tensors)
    if lora is not None and "patch_embed.proj.weight" not in tensors:
        if base is None:
            raise InputError(
                "it holds a LoRA without its backbone; give the weights that it was trained from "
                "with --base"
            )
        tensors = {k: v for k, v in base.state.items() if not k.startswith(VIT[-3:])} | tensors
        notes = (*notes, "its backbone is that of --base")
    told = file.settings.get(OURS)
    told = told if isinstance(told, Mapping) else {}
    if heads is None and type(told.get("heads")) is int:
        heads = told["heads"]
    vit = {k: v for k, v in tensors.items() if k.startswith(VIT)}
    others = {k: v for k, v in tensors.items() if k not in vit}
    renamed = from_published(others)
    decoders = {k: v for k, v in renamed.items() if not k.startswith("encoder.")}
    config, guess = vit_config(vit, heads)
    left = fit_whole(vit, config)
    kind, preprocessing = _kind(file, vit, decoders, config, lora, theirs)
    if "preprocessing" not in told:
        if kind in ("MED-PEFT LoRA", "fine-tuned ViT"):
            notes = (*notes, GUESSES["fine-tuned"])
        elif kind == "MAE" and not decoders:
            notes = (*notes, GUESSES["bare"])
    kind, preprocessing, alpha = _told(told, kind, preprocessing)
    size, channels = config.model_args["img_size"], config.model_args["in_chans"]
    if size != preprocessing.size:
        preprocessing = replace(preprocessing, size=size, resize=None)
    return Imported(
        kind,
        config,
        replace(preprocessing, channels=channels),
        {k: v for k, v in vit.items() if k not in left},
        decoders,
        (*(k.removeprefix("encoder.") for k in renamed if k.startswith("encoder.")), *left),
        kept=kept | unread(others),
        lora=lora,
        alpha=alpha,
        notes=notes if guess is None else (*notes, guess),
    )


def _kind(
    file: WeightsFile,
    vit: Mapping[str, Tensor],
    decoders: Mapping[str, Tensor],
    config: BackboneConfig,
    lora: LoRA | None,
    theirs: bool,
) -> tuple[Kind, Preprocessing]:
    if lora is not None:
        return "MED-PEFT LoRA", MRM_PREPROCESSING
    if any(k.startswith("report_decoder.") for k in decoders):
        return "MRM", MRM_PREPROCESSING
    arguments: Any = file.settings.get("args")
    if getattr(arguments, "datasets_names", None):
        return "CXR-MAE", CXR_MAE_PREPROCESSING
    if theirs:
        of = IMAGENET_GREY if decoders else replace(IMAGENET_GREY, mean=0.5, std=0.5, resize=None)
        return ("Hugging Face ViTMAE" if decoders else "Hugging Face ViT"), of
    if "head.weight" in vit and "fc_norm.weight" in vit:
        return "fine-tuned ViT", MRM_PREPROCESSING
    if decoders or "head.weight" not in vit:
        return "MAE", IMAGENET_GREY
    published = timm.get_pretrained_cfg(config.architecture)
    return "timm", published_preprocessing(published.to_dict()) if published else IMAGENET_GREY


def _told(
    told: Mapping[str, Any], kind: Kind, preprocessing: Preprocessing
) -> tuple[Kind, Preprocessing, float | None]:
    """What a file that radlearn exported says of itself; what cannot be true is left out."""
    named, alpha = told.get("kind"), told.get("alpha")
    if isinstance(named, str) and named in get_args(Kind):
        kind = named  # type: ignore[assignment]
    given = told.get("preprocessing")
    given = given if isinstance(given, Mapping) else {}
    if all(type(n) in (int, float, type(None)) and abs(n or 0) < 1e4 for n in given.values()):
        with suppress(TypeError, ValueError):
            preprocessing = Preprocessing(**given)
    known = isinstance(alpha, int | float) and 0 < alpha < math.inf
    return kind, preprocessing, alpha if known else None
