"""Weights from elsewhere: what they are is told by what is in them, never by their file's name.

Files are not trusted: nothing in them is executed, and what is wrong with them is said in a line.
"""

import argparse
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.backbone import BackboneConfig, grey_preprocessing, read_model
from radlearn.models.mrm import MRM
from radlearn.models.weights import checked, fitted, read_safetensors, resampled
from radlearn.records.transforms import Preprocessing

Kind = Literal["MRM", "CXR-MAE", "MAE", "timm", "radlearn"]

MRM_PREPROCESSING = Preprocessing(size=224, mean=0.4978, std=0.2449)
CXR_MAE_PREPROCESSING = Preprocessing(size=224, mean=0.4785, std=0.2834, resize=256)
IMAGENET_GREY = Preprocessing(size=224, mean=0.449, std=0.226, resize=256)
"""ImageNet's colour statistics averaged to grey: what MAE's own weights were trained on."""

NATURAL: tuple[Kind, ...] = ("MAE", "timm")
"""Kinds trained on photographs: MRM normalises radiographs with their own mean all the same."""

PUBLISHED = {
    "image_decoder.mask_token": "mask_token",
    "image_decoder.positions": "decoder_pos_embed",
    "image_decoder.embed.": "decoder_embed.",
    "image_decoder.blocks.": "decoder_blocks.",
    "image_decoder.norm.": "decoder_norm.",
    "image_decoder.predict.": "decoder_pred.",
    "report_decoder.embeddings.": "bert_encoder.model.bert.embeddings.",
    "report_decoder.layers.": "bert_encoder.model.bert.encoder.layer.",
    "report_decoder.transform.": "bert_encoder.model.cls.predictions.transform.",
    "report_decoder.bias": "bert_encoder.model.cls.predictions.bias",
    "report_decoder.decoder": "bert_encoder.model.cls.predictions.decoder.weight",
    "report_decoder.project.": "bert_mlp.",
    "encoder.": "",
}
"""Our prefixes and those of MRM's and MAE's checkpoints; looked up in this order."""

DECODER_BIAS = "bert_encoder.model.cls.predictions.decoder.bias"
POOLER = "bert_encoder.model.bert.pooler.dense."
VIT = (
    *("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre."),
    *("blocks.", "norm.", "fc_norm.", "head."),
)
WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}


@dataclass(frozen=True)
class Imported:
    """A backbone from elsewhere and what came with it.

    Attributes:
        state: the backbone by timm's names, with whatever head it has.
        decoders: by MRM's names here ("image_decoder.", "report_decoder."); empty where none.
        preprocessing: what the backbone was trained on.
        unmatched: names in the file that belong to nothing known.
        folder: the model folder it was read from; None for a file of weights.
    """

    kind: Kind
    config: BackboneConfig
    preprocessing: Preprocessing
    state: dict[str, Tensor]
    decoders: dict[str, Tensor] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Started:
    """How pretraining started: one line to say so, and the preprocessing to go on with.

    Attributes:
        preprocessing: None where the weights saw photographs, whose statistics are not taken over.
    """

    summary: str
    preprocessing: Preprocessing | None


def read_checkpoint(path: Path) -> Imported:
    """Read MRM.pth, a MAE or CXR-MAE checkpoint, timm weights, or a run's or model's folder.

    Raises:
        InputError: there is nothing, or nothing that can be understood, or it is unsafe or damaged.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise InputError(f"there are no weights at {path}; give a file, a run or a model folder")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    # a safetensors file starts with the length of its JSON header, in 8 bytes
    if start[8:] == b"{":
        return _file(path, read_safetensors(path), {})
    whole = _unpickled(path)
    named = next((k for k in ("model", "state_dict", "model_state_dict") if k in whole), None)
    return _file(path, whole if named is None else whole[named], whole)


def start_from(path: Path, model: MRM) -> Started:
    """Give `model` the backbone at `path`, and each decoder that fits it whole.

    A published report decoder has two word matrices, so ours is untied to take it.

    Raises:
        InputError: as `read_checkpoint`, or the backbone is another architecture's.
    """
    imported = read_checkpoint(path)
    state = fitted(imported.state, model.encoder)
    model.encoder.load_state_dict(state, strict=False)
    said = ["backbone taken"]
    if model.image_decoder is not None:
        taken = _take(_image_decoder(imported.decoders, model), "image_decoder.", model)
        said.append(f"image decoder {'taken' if taken else 'new'}")
    if model.report_decoder is not None:
        taken = _take(_report_decoder(imported.decoders, model), "report_decoder.", model)
        said.append(f"report decoder {'taken' if taken else 'new'}")
    unused = len(imported.unmatched) + len(imported.state.keys() - state.keys())
    return Started(
        f"started from {path} ({imported.kind}): {', '.join(said)}, {unused} tensors not used",
        None if imported.kind in NATURAL else imported.preprocessing,
    )


def export_mrm(model: MRM) -> dict[str, Tensor]:
    """The model's state under the names of the published MRM checkpoint.

    A tied word matrix is written twice, as is the head's bias; the pooler, which nothing reads, is
    zeros.
    """
    state = {k: v.detach() for k, v in model.state_dict().items()}
    exported = {published_name(k): v for k, v in state.items()}
    if model.report_decoder is not None:
        words = model.report_decoder.word_weights.detach()
        exported[published_name("report_decoder.decoder")] = words
        exported[DECODER_BIAS] = state["report_decoder.bias"]
        width = words.shape[1]
        exported[f"{POOLER}weight"] = torch.zeros(width, width)
        exported[f"{POOLER}bias"] = torch.zeros(width)
    return exported


def published_name(name: str) -> str:
    """The name in MRM's checkpoint of a parameter of `MRM`."""
    prefix = next(p for p in PUBLISHED if name.startswith(p))
    return PUBLISHED[prefix] + name.removeprefix(prefix)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state under our names, without the pooler and the head's second bias."""
    back = {theirs: ours for ours, theirs in PUBLISHED.items()}
    renamed = {}
    for name, tensor in state.items():
        if name != DECODER_BIAS and not name.startswith(POOLER):
            prefix = next(p for p in back if name.startswith(p))
            renamed[back[prefix] + name.removeprefix(prefix)] = tensor
    return renamed


def _image_decoder(decoders: Mapping[str, Tensor], model: MRM) -> dict[str, Tensor]:
    """The image decoder given, its positions brought to the model's grid of patches."""
    given = {k: v for k, v in decoders.items() if k.startswith("image_decoder.")}
    places = given.get("image_decoder.positions")
    if places is not None and places.ndim == 3:
        encoder = model.encoder
        given["image_decoder.positions"] = resampled(
            places, encoder.patch_embed.grid_size, encoder.num_prefix_tokens
        )
    return given


def _report_decoder(decoders: Mapping[str, Tensor], model: MRM) -> dict[str, Tensor]:
    """The report decoder given; the model's is untied where the given one has two matrices."""
    given = {k: v for k, v in decoders.items() if k.startswith("report_decoder.")}
    report = model.report_decoder
    words = given.get("report_decoder.embeddings.word_embeddings.weight")
    if report is None or words is None:
        return {}
    matrix = given.setdefault("report_decoder.decoder", words)
    if report.decoder is None:
        own = report.embeddings.word_embeddings.weight
        if matrix is words or torch.equal(matrix, words):
            del given["report_decoder.decoder"]
        elif matrix.shape == words.shape == own.shape:
            report.untie()
    return given


def _take(given: Mapping[str, Tensor], prefix: str, model: MRM) -> bool:
    """Load one decoder if every one of its tensors is given in the right shape, else none."""
    own = {k: v for k, v in model.state_dict().items() if k.startswith(prefix)}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        return False
    model.load_state_dict({k: checked(k, v, own[k]) for k, v in given.items()}, strict=False)
    return True


def _folder(path: Path) -> Imported:
    folder = path / "model" if (path / "model" / "config.json").exists() else path
    if (folder / "backbone" / "config.json").exists():
        folder = folder / "backbone"
    saved = read_model(folder)
    decoders = {}
    if (folder / "mrm.safetensors").exists():
        whole = read_safetensors(folder / "mrm.safetensors")
        decoders = {k: v for k, v in whole.items() if "decoder." in k}
    return Imported(
        "radlearn" if saved.extra else "timm",
        saved.config,
        saved.preprocessing,
        saved.state,
        decoders,
        folder=folder,
    )


def _unpickled(path: Path) -> dict[str, Any]:
    """A torch file's dict, reading nothing but tensors, numbers, text and argparse's settings."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # what torch remarks about strange files is said by the errors below
            warnings.simplefilter("ignore")
            whole = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than weights, or is damaged, and was not opened further; save its "
            "state_dict alone, with torch.save or safetensors"
        ) from error
    except Exception as error:  # a damaged file may fail in any way inside of the reader
        raise InputError(
            f"{path} is not a readable file of weights ({type(error).__name__}); get it again"
        ) from error
    if not isinstance(whole, dict):
        raise InputError(f"{path} holds a {type(whole).__name__}, not a state_dict of weights")
    return whole


def _file(path: Path, state: Any, whole: Mapping[str, Any]) -> Imported:
    tensors = _tensors(path, state)
    vit = {k: v for k, v in tensors.items() if k.startswith(VIT)}
    renamed = from_published({k: v for k, v in tensors.items() if k not in vit})
    decoders = {k: v for k, v in renamed.items() if not k.startswith("encoder.")}
    unmatched = tuple(k for k in renamed if k.startswith("encoder."))
    config = _architecture(path, vit)
    kind: Kind = "timm"
    if any(k.startswith("report_decoder.") for k in decoders):
        kind, preprocessing = "MRM", MRM_PREPROCESSING
    elif getattr(whole.get("args"), "datasets_names", None):
        kind, preprocessing = "CXR-MAE", CXR_MAE_PREPROCESSING
    elif decoders or "head.weight" not in vit:
        kind, preprocessing = "MAE", IMAGENET_GREY
    else:
        published = timm.get_pretrained_cfg(config.architecture)
        preprocessing = grey_preprocessing(published.to_dict()) if published else IMAGENET_GREY
    size, channels = config.model_args["img_size"], config.model_args["in_chans"]
    if size != preprocessing.size:
        preprocessing = replace(preprocessing, size=size, resize=None)
    preprocessing = replace(preprocessing, channels=channels)
    return Imported(kind, config, preprocessing, vit, decoders, unmatched)


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    """The floating-point tensors of a state_dict; counters and position numbers are left out."""
    if not isinstance(state, Mapping) or not all(isinstance(k, str) for k in state):
        raise InputError(f"{path} does not hold a state_dict: tensors by their names")
    for name, value in state.items():
        dense = isinstance(value, Tensor) and value.layout == torch.strided
        if not dense or value.is_quantized or value.is_meta:
            raise InputError(
                f"{path} has {name} as {type(value).__name__} where a dense tensor should be; "
                "save the model's state_dict alone"
            )
    bare = all(name.startswith("module.") for name in state)
    return {
        name.removeprefix("module.") if bare else name: tensor
        for name, tensor in state.items()
        if tensor.is_floating_point()
    }


def _architecture(path: Path, vit: Mapping[str, Tensor]) -> BackboneConfig:
    """timm's name of a standard ViT, by the shapes of its weights.

    Raises:
        InputError: they are not those of a ViT of a standard width.
    """
    patch, places = vit.get("patch_embed.proj.weight"), vit.get("pos_embed")
    if patch is None or patch.ndim != 4 or places is None or places.ndim != 3:
        raise InputError(
            f"{path} does not hold a ViT: it has no patch_embed.proj.weight and pos_embed of "
            "timm's shapes; give a model folder for other architectures"
        )
    width, channels, side, _ = patch.shape
    prefix = sum(vit[k].shape[1] for k in ("cls_token", "reg_token") if k in vit)
    grid = round(max(places.shape[1] - prefix, 0) ** 0.5)
    depth = len({name.split(".")[1] for name in vit if name.startswith("blocks.")})
    name = f"vit_{WIDTHS.get(width)}_patch{side}_224"
    if width not in WIDTHS or not timm.is_model(name):
        raise InputError(
            f"{path} holds a ViT {width} wide with patches of {side}, which has no standard name; "
            "give a model folder, whose config.json says how many heads it has"
        )
    sizes = {"img_size": grid * side, "patch_size": side, "in_chans": channels, "depth": depth}
    return BackboneConfig(name, sizes)
