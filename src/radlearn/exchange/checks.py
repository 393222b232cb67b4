"""What an export wrote and how near its outputs are; fine-tuned runs as they were trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS
from radlearn.adapters.tuner import FACTS
from radlearn.errors import InputError
from radlearn.files import read_json
from radlearn.finetuning.tuned import Tuned, load_tuned
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.model_folders import read_model
from radlearn.models.weights import load_backbone
from radlearn.records.transforms import Preprocessing

BATCH = 3


@dataclass(frozen=True)
class Exported:
    """One export.

    Attributes:
        difference: the largest, absolute, between outputs of ours and of what was loaded again.
        largest: output of ours, absolute.
        compared: what was compared, by whom.
        files: names below the folder.
        load: how to load it, FOLDER standing for the folder.
        facts: to be written beside it: preprocessing, labels, licences.
    """

    difference: float
    largest: float
    compared: str
    files: tuple[str, ...]
    load: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Classifier:
    """A fine-tuned run.

    Attributes:
        tuned: its LoRA merged, ready to predict.
        model: as it was trained, LoRA beside the weights.
    """

    tuned: Tuned
    model: nn.Module
    tuner: str
    config: BackboneConfig

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "preprocessing": vars(self.tuned.preprocessing),
            "task": self.tuned.task,
            **self.tuned.reading.facts(),
            "stored": dict(self.tuned.stored),
            "licences": [dict(one) for one in self.tuned.licences],
        }


def load_classifier(run: Path) -> Classifier:
    """A finished fine-tuning run, merged and as it was trained.

    Raises:
        InputError: as `load_tuned`.
    """
    tuned = load_tuned(run)
    adapter = run / "model" / "adapter"
    facts = read_json(adapter / FACTS, "an adapter")
    backbone = read_model(run / "model" / "backbone")
    config = BackboneConfig(backbone.config.architecture, dict(facts["model_args"]))
    model = build_classifier(config, len(tuned.labels))
    load_backbone(model, backbone.state)
    tuner = facts["tuner"]["name"]
    ADAPTERS[tuner].load(model, adapter)
    return Classifier(tuned, model.eval(), tuner, config)


def refuse_unmerged(run: Path, tuner: str) -> None:
    """Raise InputError where what was trained cannot become part of a plain timm model."""
    if not ADAPTERS[tuner].mergeable:
        raise InputError(
            f"{run} was tuned by {tuner}, which adds layers to the model that timm has no place "
            "for; export it --to onnx"
        )


def pictures(pre: Preprocessing, batch: int = BATCH) -> Float[Tensor, "batch channels size size"]:
    """Noise as the model sees pictures: normalised, its channels alike."""
    return torch.randn(batch, 1, pre.size, pre.size).expand(-1, pre.channels, -1, -1).contiguous()


def compared(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], *batches: Tensor
) -> tuple[float, float]:
    """The largest absolute difference of outputs, and the largest output of ours."""
    differences, sizes = [], []
    with torch.inference_mode():
        for batch in batches:
            expected = ours(batch).double()
            differences.append(float((theirs(batch).double() - expected).abs().max()))
            sizes.append(float(expected.abs().max()))
    return max(differences), max(sizes)


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> tuple[float, float]:
    """The largest absolute difference of weights by name, and the largest weight of `first`.

    Infinite where the names or shapes are not the same.
    """
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return float("inf"), 1.0
    pairs = [(v.double(), second[k].double()) for k, v in first.items() if v.numel()]
    return (
        max((float((a - b).abs().max()) for a, b in pairs), default=0.0),
        max((float(a.abs().max()) for a, _ in pairs), default=0.0),
    )
