"""Weights from elsewhere: what they are is told by what is in them, never by their file's name.

Files are not trusted: nothing in them is executed, and what is wrong with them is said in a line.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import timm
from torch import Tensor

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig
from radlearn.models.huggingface import from_huggingface, is_huggingface
from radlearn.models.huggingface_families import FAMILIES, taken
from radlearn.models.huggingface_folders import HuggingFaceFolder, huggingface_folder
from radlearn.models.imported import (
    CXR_MAE_PREPROCESSING,
    GUESSES,
    IMAGENET_GREY,
    KEPT,
    LEARNT_FROM,
    MRM_PREPROCESSING,
    NATURAL,
    OURS,
    Imported,
    ImportedNetworks,
    Kind,
)
from radlearn.models.medpeft import LoRA, split_lora
from radlearn.models.model_folders import published_preprocessing, read_model
from radlearn.models.named import of_architecture, of_shapes
from radlearn.models.published import from_published, unread
from radlearn.models.reggan import read_networks
from radlearn.models.vit_shapes import VIT, fit_whole, vit_config, with_registers
from radlearn.models.weight_files import WeightsFile, open_weights
from radlearn.models.weights import read_safetensors
from radlearn.records.transforms import Preprocessing


def read_checkpoint(path: Path, architecture: str | None = None) -> Imported:
    """Read a backbone: see `open_checkpoint`. What had to be guessed is printed.

    Raises:
        InputError: as `open_checkpoint`, or there are networks of RegGAN, which are no backbone.
    """
    found = open_checkpoint(path, architecture=architecture)
    if isinstance(found, ImportedNetworks):
        raise InputError(
            f"{path} holds RegGAN's {', '.join(found.networks)}, which is no backbone; "
            "radlearn import with --out makes a model that predicts"
        )
    for note in found.notes:
        console.print(f"{path}: {note}", style="yellow")
    return found


def open_checkpoint(
    path: Path,
    heads: int | None = None,
    base: Imported | None = None,
    architecture: str | None = None,
) -> Imported | ImportedNetworks:
    """Read what is at `path`: a published checkpoint, or a folder of a run or a model.

    Published are: MRM.pth; MAE and CXR-MAE, with or without decoder; ViTs, Swins and ConvNeXts of
    timm's names; ViT, ViTMAE, DINOv2, DINOv3, Swin and ConvNeXt in Hugging Face's folders;
    MED-PEFT's fine-tuned files; RegGAN's networks.

    Args:
        heads: of the backbone, where its shapes leave them open.
        base: what a file was trained from that holds a LoRA without its backbone.
        architecture: of timm, of the weights in a file; None to know it by their shapes.

    Raises:
        InputError: there is nothing, or nothing that can be understood, or it is unsafe or damaged.
    """
    if path.is_dir():
        found = _folder(path, heads)
        if architecture not in (None, found.config.architecture):
            raise InputError(
                f"{path} says that it holds a {found.config.architecture}, not a {architecture}; "
                "leave --model out"
            )
        return found
    if not path.is_file():
        raise InputError(f"there are no weights at {path}; give a file, a run or a model folder")
    return _file(path, open_weights(path), heads, base, architecture)


def _folder(path: Path, heads: int | None) -> Imported:
    inside = ("model", "model/backbone", "backbone")
    found = (path / part for part in inside if (path / part / "config.json").exists())
    folder = next(found, path)
    if (theirs := huggingface_folder(folder)) is not None:
        return _theirs(theirs, heads)
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


def _theirs(folder: HuggingFaceFolder, heads: int | None) -> Imported:
    """A folder of Hugging Face's, with the preprocessing that it says."""
    file = open_weights(folder.weights)
    if folder.type in FAMILIES:
        try:
            found = _of_family(folder, file)
        except InputError as error:
            raise InputError(f"{folder.weights.parent} cannot be taken: {error}") from error
    else:
        read = _file(folder.weights, file, heads or folder.heads, None, None)
        assert isinstance(read, Imported)
        found = read
        if folder.eps != 1e-6:
            note = (
                f"its layer norms add {folder.eps:g} where timm's add 1e-06: outputs differ by as "
                "much"
            )
            found = replace(found, notes=(*found.notes, note))
    said, own = folder.preprocessing, found.preprocessing
    if said is None:
        return found
    if said.channels != own.channels:
        said = replace(said.averaged, channels=own.channels)
    if said.size % found.config.model_args["patch_size"]:
        said = replace(said, size=own.size, resize=None)
    return replace(found, preprocessing=said)


def _of_family(folder: HuggingFaceFolder, file: WeightsFile) -> Imported:
    config, state, kept = taken(FAMILIES[folder.type], folder.config, file.tensors)
    left = fit_whole(state, config)
    kind: Kind = "Hugging Face DINOv3"
    if folder.type != "dinov3_vit":
        kind = "Hugging Face Swin" if folder.type.startswith("swin") else "Hugging Face ConvNeXt"
    state = {k: v for k, v in state.items() if k not in left}
    kept |= file.counters
    return Imported(
        kind, config, _published(config), state, unmatched=left, kept=kept, notes=file.notes
    )


def _published(config: BackboneConfig) -> Preprocessing:
    """timm's own preprocessing of the architecture, at the image size of the weights."""
    published = timm.get_pretrained_cfg(config.architecture)
    found = published_preprocessing(published.to_dict()) if published else IMAGENET_GREY
    side = config.model_args.get("img_size", found.size)
    resize = found.resize if side == found.size else None
    channels = config.model_args.get("in_chans", 3)
    if channels != found.channels:
        found = replace(found.averaged, channels=channels)
    return replace(found, size=side, resize=resize)


def _file(
    path: Path,
    file: WeightsFile,
    heads: int | None,
    base: Imported | None,
    architecture: str | None,
) -> Imported | ImportedNetworks:
    try:
        networks = read_networks(file.tensors)
        if networks is not None:
            return ImportedNetworks(networks, file.notes)
        if architecture is not None and not is_huggingface(file.tensors):
            return _published_vit(file, heads, base) or _named(file, architecture)
        shaped = of_shapes(file.tensors)
        return _backbone(file, heads, base) if shaped is None else _shaped(file, shaped)
    except InputError as error:
        raise InputError(f"{path} cannot be taken: {error}") from error


def _published_vit(file: WeightsFile, heads: int | None, base: Imported | None) -> Imported | None:
    """MRM, MAE and what was tuned from them say what they are, whatever they are called."""
    if not {"patch_embed.proj.weight", "pos_embed"} <= file.tensors.keys():
        return None
    found = _backbone(file, heads, base)
    ours = found.decoders or OURS in file.settings
    return None if found.kind in NATURAL and not ours else found


def _named(file: WeightsFile, architecture: str) -> Imported:
    config, state, left = of_architecture(architecture, file.tensors)
    return _plain(file, config, state, left)


def _shaped(file: WeightsFile, config: BackboneConfig) -> Imported:
    left = fit_whole(file.tensors, config)
    return _plain(file, config, file.tensors, left)


def _plain(
    file: WeightsFile, config: BackboneConfig, state: Mapping[str, Tensor], left: tuple[str, ...]
) -> Imported:
    return Imported(
        "timm",
        config,
        _published(config),
        {k: v for k, v in state.items() if k not in left},
        unmatched=left,
        kept=dict(file.counters),
        notes=file.notes,
    )


def _backbone(file: WeightsFile, heads: int | None, base: Imported | None) -> Imported:
    tensors, kept, notes = file.tensors, dict(file.counters), file.notes
    theirs = is_huggingface(tensors)
    if theirs:
        tensors, known = from_huggingface(tensors)
        kept |= known
    tensors, lora = split_lora(with_registers(tensors))
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
    if "blocks.0.ls1.gamma" in vit and _is_of_two_tokens(vit):
        # DINOv2's classifier of transformers' also takes the mean over patches
        kept |= {k: vit.pop(k) for k in ("head.weight", "head.bias") if k in vit}
    others = {k: v for k, v in tensors.items() if k not in vit and k not in kept}
    if "decoder_embed.weight" not in others and "mask_token" in others:
        kept["mask_token"] = others.pop("mask_token")
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
    if channels != preprocessing.channels:
        preprocessing = replace(preprocessing.averaged, channels=channels)
    return Imported(
        kind,
        config,
        preprocessing,
        {k: v for k, v in vit.items() if k not in left},
        decoders,
        (*(k.removeprefix("encoder.") for k in renamed if k.startswith("encoder.")), *left),
        kept=kept | unread(others),
        lora=lora,
        alpha=alpha,
        notes=notes if guess is None else (*notes, guess),
        learnt_from=_sources(told.get(LEARNT_FROM)),
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
    if config.architecture.endswith("_dinov2"):
        return "DINOv2", _published(config)
    if theirs:
        of = IMAGENET_GREY if decoders else replace(IMAGENET_GREY, mean=0.5, std=0.5, resize=None)
        return ("Hugging Face ViTMAE" if decoders else "Hugging Face ViT"), of
    if "head.weight" in vit and "fc_norm.weight" in vit:
        return "fine-tuned ViT", MRM_PREPROCESSING
    if decoders or "head.weight" not in vit:
        return "MAE", IMAGENET_GREY
    return "timm", _published(config)


def _is_of_two_tokens(vit: Mapping[str, Tensor]) -> bool:
    head, norm = vit.get("head.weight"), vit.get("norm.weight")
    return head is not None and norm is not None and head.shape[-1] == 2 * len(norm)


def _told(
    told: Mapping[str, Any], kind: Kind, preprocessing: Preprocessing
) -> tuple[Kind, Preprocessing, float | None]:
    """What a file that radlearn exported says of itself; what cannot be true is left out."""
    named, alpha = told.get("kind"), told.get("alpha")
    if isinstance(named, str) and named in get_args(Kind):
        kind = named  # type: ignore[assignment]
    given = told.get("preprocessing")
    given = given if isinstance(given, Mapping) else {}
    if all(_is_setting(value) for value in given.values()):
        with suppress(TypeError, ValueError):
            preprocessing = Preprocessing(**given)
    known = isinstance(alpha, int | float) and 0 < alpha < math.inf
    return kind, preprocessing, alpha if known else None


def _sources(given: Any) -> tuple[dict[str, str], ...]:
    """What a file says that its weights saw, as far as it is said in words."""
    found = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
    words = [{k: one.get(k, "") for k in ("name", "licence", "terms")} for one in found]
    return tuple(one for one in words if one["name"] and all(type(w) is str for w in one.values()))


def _is_setting(value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    return value in ("bicubic", "bilinear") or all(
        type(n) in (int, float, type(None)) and abs(n or 0) < 1e4 for n in numbers
    )
