"""Model folders: config.json and model.safetensors, as timm loads them and saves its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from radlearn.errors import InputError
from radlearn.files import read_json, replacing, write_json
from radlearn.models.backbone import BackboneConfig
from radlearn.models.weights import checked, read_safetensors
from radlearn.records.transforms import Preprocessing

OF_HEAD = ("num_classes", "global_pool", "fc_norm", "drop_path_rate", "drop_rate")
"""Arguments that a task chooses, not a backbone."""


def save_model(
    folder: Path,
    model: nn.Module,
    config: BackboneConfig,
    preprocessing: Preprocessing,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json and model.safetensors as timm reads them.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` gives the model, and so does
    `timm.create_model(architecture, **model_args)` with a strict `load_state_dict`.

    Args:
        extra: kept under "radlearn" beside the preprocessing: labels, licences, ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with replacing(folder / "model.safetensors") as path:
        save_file(state, path, metadata={"format": "pt"})
    write_config(folder, model, config, preprocessing, extra)


def write_config(
    folder: Path,
    model: nn.Module,
    config: BackboneConfig,
    preprocessing: Preprocessing,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """The config.json of `save_model` alone."""
    arguments = {**config.arguments, "num_classes": model.num_classes}
    if isinstance(model, VisionTransformer | Eva):
        arguments["global_pool"] = model.global_pool
    if isinstance(model, VisionTransformer):
        arguments["fc_norm"] = not isinstance(model.fc_norm, nn.Identity)
    channels, seen = preprocessing.channels, preprocessing.size
    size = config.arguments.get("img_size", seen)
    mean, std = (
        list(value) if isinstance(value, tuple) else [value] * channels
        for value in (preprocessing.mean, preprocessing.std)
    )
    published: Mapping[str, Any] = model.default_cfg  # type: ignore[assignment]
    shown = {
        "architecture": config.architecture,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": getattr(model, "global_pool", "avg"),
        "model_args": arguments,
        "pretrained_cfg": {
            "architecture": config.architecture,
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": published["fixed_input_size"],
            "interpolation": preprocessing.interpolation,
            "crop_pct": seen / (preprocessing.resize or seen),
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": published["first_conv"],
            "classifier": published["classifier"],
        },
        "radlearn": {"preprocessing": asdict(preprocessing), **(extra or {})},
    }
    write_json(folder / "config.json", shown)


@dataclass(frozen=True)
class SavedModel:
    """A model folder as read: ours, or any that timm saved.

    Attributes:
        config: the backbone, without what its task chose.
        arguments: everything that `timm.create_model` needs for the saved model itself.
        preprocessing: ours where radlearn saved it, else timm's own.
        extra: what `save_model` was given besides.
        state: the weights; empty where they were not asked for.
    """

    config: BackboneConfig
    arguments: dict[str, Any]
    preprocessing: Preprocessing
    extra: dict[str, Any]
    state: dict[str, Tensor]

    def create(self) -> nn.Module:
        """The saved model, in evaluation mode.

        Raises:
            InputError: the weights are another model's, or not finite.
        """
        model = BackboneConfig(self.config.architecture, self.arguments).create()
        own = model.state_dict()
        if self.state.keys() != own.keys():
            raise InputError(
                f"these are not the weights of {self.config.architecture} as config.json "
                "describes it; copy the whole model folder again"
            )
        model.load_state_dict({k: checked(k, self.state[k], v) for k, v in own.items()})
        return model.eval()


def read_model(folder: Path, weights: bool = True) -> SavedModel:
    """Read a model folder without making the model.

    Raises:
        InputError: config.json is missing or does not describe a model, or the weights are
            missing, damaged, or far fewer than those of the model.
    """
    read = read_json(folder / "config.json", "a model folder")
    try:
        arguments = {"num_classes": read["num_classes"], **(read.get("model_args") or {})}
        of_backbone = {k: v for k, v in arguments.items() if k not in OF_HEAD}
        extra = dict(read.get("radlearn") or {})
        kept = extra.pop("preprocessing", None)
        preprocessing = (
            Preprocessing(**kept) if kept else published_preprocessing(read["pretrained_cfg"])
        )
        config = BackboneConfig(str(read["architecture"]), of_backbone)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"{folder / 'config.json'} does not describe a model ({error!r}); "
            "give a model folder that radlearn or timm saved"
        ) from error
    state = read_safetensors(folder / "model.safetensors") if weights else {}
    if weights:
        _refuse_larger(config, arguments, state, folder)
    return SavedModel(config, arguments, preprocessing, extra, state)


def _refuse_larger(
    config: BackboneConfig, arguments: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path
) -> None:
    """No memory is asked for that the weights beside config.json do not bear out."""
    of_head = {k: v for k, v in arguments.items() if k in OF_HEAD} | {"num_classes": 0}
    with torch.device("meta"):
        claimed = sum(one.numel() for one in config.create(**of_head).parameters())
    there = sum(one.numel() for one in state.values())
    if claimed > 2 * there:
        raise InputError(
            f"{folder / 'config.json'} describes a backbone of {claimed:,} weights, and "
            f"model.safetensors has {there:,}; copy the whole model folder again"
        )


def load_model(folder: Path) -> tuple[nn.Module, SavedModel]:
    """Read what `save_model` wrote and make the model, in evaluation mode.

    Raises:
        InputError: as `read_model` and `SavedModel.create`.
    """
    saved = read_model(folder)
    return saved.create(), saved


def published_preprocessing(published: Mapping[str, Any]) -> Preprocessing:
    """timm's own preprocessing of a model (its `pretrained_cfg`); one channel is the colours' mean.

    The image is resized to what timm's evaluation resizes to, and its centre cut out.
    """
    channels, size, _ = published["input_size"]
    mean, std = (tuple(published[k]) for k in ("mean", "std"))
    resize = int(size / (published.get("crop_pct") or 1.0) + 1e-6)
    smooth = "bilinear" if published.get("interpolation") == "bilinear" else "bicubic"
    cut = None if resize == size else resize
    if channels == 1:
        mean, std = ((sum(value) / len(value),) for value in (mean, std))
    return Preprocessing(size, mean, std, channels, cut, smooth)  # type: ignore[arg-type]
