"""Several adapters on one backbone: switched from call to call, or mixed within a batch."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS
from radlearn.adapters.peft import CONFIG, WEIGHTS
from radlearn.adapters.tuner import FACTS, backbone_of, is_head
from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.model_folders import read_model
from radlearn.models.weights import load_backbone, read_safetensors

ROWS_OF_ITS_OWN = ("lora", "lora-all", "rslora", "pissa", "olora", "orthogonal", "mica")
"""Tuners that are plain LoRA on disk: peft tells the rows of a batch apart for these."""

OVERWRITING = ("full", "bias", "norm")
"""Tuners that change the backbone's own weights: of these they have a copy, and share the rest."""


class Several:
    """One backbone and any number of adapters that were trained on it, each with its own head.

    The backbone's weights are held once. LoRA adapters go through it together, each image of a
    batch with its own; adapters of other kinds one after the other, each with its images.

    Args:
        backbone: a plain timm model, or the folder of one; a run keeps its own under
            model/backbone.
        adapters: folders of adapters by a name of your choice; a run keeps its own under
            model/adapter.

    Raises:
        InputError: a folder holds no adapter, or one of another backbone.
    """

    def __init__(self, backbone: nn.Module | Path, adapters: Mapping[str, Path]) -> None:
        if not adapters:
            raise InputError("no adapter was given; name one folder of a run's model/adapter")
        self.names = tuple(adapters)
        self.facts = {
            name: read_json(path / FACTS, "an adapter") for name, path in adapters.items()
        }
        shared: nn.Module | None = None
        self.models: dict[str, nn.Module] = {}
        for name, folder in adapters.items():
            plain = _plain(backbone, self.facts[name], folder, shared)
            shared = shared or plain
            tuner = self.tuner(name)
            if tuner in OVERWRITING:
                self.models[name] = ADAPTERS[tuner].load(copy.deepcopy(plain), folder).eval()
                _share(self.models[name], shared)
            else:
                self.models[name] = ADAPTERS[tuner].load(_sharing(plain), folder).eval()
        assert shared is not None
        self.mixed = [name for name in self.names if self.tuner(name) in ROWS_OF_ITS_OWN]
        self.together = _together(shared, {name: adapters[name] for name in self.mixed})

    def tuner(self, name: str) -> str:
        """How an adapter was trained."""
        found = self.facts[name].get("tuner")
        tuner = found.get("name") if isinstance(found, dict) else None
        if tuner not in ADAPTERS:
            raise InputError(f"the adapter {name!r} does not say how it was trained; save it again")
        return str(tuner)

    def labels(self, name: str) -> tuple[str, ...]:
        """What an adapter's logits are of, where it says so."""
        return tuple(self.facts[name].get("labels", ()))

    @torch.no_grad()
    def logits(
        self, images: Float[Tensor, "batch channels height width"], names: str | Sequence[str]
    ) -> list[Float[Tensor, "labels"]]:
        """Logits of every image by the adapter of its name; of all by one where one is given.

        Args:
            images: normalised as the adapters' preprocessing says.

        Raises:
            InputError: there is no adapter of a name, or not a name an image.
        """
        asked = [names] * len(images) if isinstance(names, str) else list(names)
        if unknown := set(asked) - set(self.names):
            raise InputError(
                f"no adapter is called {min(unknown)!r}; there are {', '.join(self.names)}"
            )
        if len(asked) != len(images):
            raise InputError(f"{len(asked)} names were given for {len(images)} images")
        rows: dict[str, list[int]] = defaultdict(list)
        for at, name in enumerate(asked):
            rows[name].append(at)
        features = self._mixed_features(images, asked)
        found: dict[int, Tensor] = {}
        for name, places in rows.items():
            model: Any = self.models[name]
            if name in self.mixed and features is not None:
                answers = model.forward_head(torch.stack([features[at] for at in places]))
            else:
                answers = model(images[places])
            found |= dict(zip(places, answers, strict=True))
        return [found[at] for at in range(len(images))]

    def _mixed_features(self, images: Tensor, asked: Sequence[str]) -> dict[int, Tensor] | None:
        """The last features of the images whose adapters go through the backbone together."""
        places = [at for at, name in enumerate(asked) if name in self.mixed]
        if len({asked[at] for at in places}) < 2 or self.together is None:
            return None
        named = [asked[at] for at in places]
        return dict(zip(places, self.together(images[places], adapter_names=named), strict=True))


def _plain(
    backbone: nn.Module | Path, facts: Mapping[str, Any], folder: Path, shared: nn.Module | None
) -> nn.Module:
    """A plain model with the head that an adapter needs, on weights that are held once."""
    if isinstance(backbone, nn.Module):
        model = _sharing(backbone)
        labels = facts.get("labels")
        if isinstance(labels, list) and len(labels) != getattr(model, "num_classes", 0):
            model.reset_classifier(len(labels))  # type: ignore[operator]
    else:
        saved = read_model(backbone)
        arguments = facts.get("model_args", saved.config.model_args)
        if not isinstance(arguments, dict) or not isinstance(facts.get("labels"), list):
            raise InputError(f"{folder / FACTS} names no labels; give an adapter of a run")
        config = BackboneConfig(saved.config.architecture, dict(arguments))
        model = build_classifier(config, len(facts["labels"]))
        load_backbone(model, saved.state)
    if backbone_of(model) is not model:
        raise InputError("several adapters share a timm model that classifies; give such a one")
    if shared is not None:
        _share(model, shared)
    return model


def _share(model: nn.Module, other: nn.Module) -> None:
    """Take the other's tensors where they are the same, heads apart."""
    theirs = dict(other.named_parameters())
    for name, value in list(model.named_parameters()):
        there = theirs.get(name)
        if not is_head(name) and there is not None and torch.equal(there, value):
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, there)


def _sharing(model: nn.Module) -> nn.Module:
    """A copy whose modules are its own, and whose weights are not, its head's excepted."""
    held = {id(p): p for name, p in model.named_parameters() if not is_head(name)}
    return copy.deepcopy(model, dict(held))


def _together(plain: nn.Module, folders: Mapping[str, Path]) -> Any:
    """The backbone with every LoRA, which peft gives to the rows that name it."""
    if len(folders) < 2:
        return None
    import peft

    model: Any = _sharing(plain)
    model.forward = model.forward_features
    wrapped: Any = None
    for name, folder in folders.items():
        read = read_json(folder / CONFIG, "an adapter")
        config = peft.LoraConfig(
            r=read["r"],
            lora_alpha=read["lora_alpha"],
            target_modules=read["target_modules"],
            use_rslora=read.get("use_rslora", False),
            inference_mode=True,
        )
        if wrapped is None:
            wrapped = peft.get_peft_model(model, config, adapter_name=name)
        else:
            wrapped.add_adapter(name, config)
        tensors = read_safetensors(folder / WEIGHTS)
        lora = {key: value for key, value in tensors.items() if ".lora_" in key}
        peft.set_peft_model_state_dict(wrapped, lora, adapter_name=name)
    return wrapped.eval()
