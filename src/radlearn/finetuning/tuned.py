"""A fine-tuned run on disk: everything that turns a picture into probabilities travels with it.

run/model/backbone/   the plain backbone that training started from, as timm loads it; a hard
                      link to the pretraining run's where the disk allows
run/model/adapter/    what was trained on it, head included: PEFT's own format for LoRA, every
                      weight for full fine-tuning; radlearn.json beside it says the labels,
                      the preprocessing and which backbone it belongs to
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from radlearn.adapters import ADAPTERS
from radlearn.adapters.tuner import FACTS
from radlearn.engine.folder import finished_run
from radlearn.errors import InputError
from radlearn.files import read_json, write_json
from radlearn.finetuning.readings import READINGS, Reading
from radlearn.models.backbone import BackboneConfig, build_backbone, build_classifier
from radlearn.models.lineage import all_sources
from radlearn.models.model_folders import read_model, save_model
from radlearn.models.weights import load_backbone
from radlearn.records.transforms import Preprocessing

THRESHOLDS = "thresholds.json"


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model ready to predict: plain timm, its LoRA merged.

    Attributes:
        task: what it was taught, by its name.
        reading: what its outputs mean; `labels` are their names.
        pool: column of the studies whose pictures were answered for together, or None.
        stored: how its training pictures were stored ("size", "fit", "bits"), so that a new
            picture goes the same way.
        thresholds: probability from which a label is called, None where validation gave none.
        licences: of all the data that it learnt from, its backbone's too.
    """

    model: nn.Module
    preprocessing: Preprocessing
    stored: Mapping[str, Any]
    task: str
    reading: Reading
    pool: str | None
    thresholds: Mapping[str, float | None]
    licences: Sequence[Mapping[str, str]]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.reading.names


def keep_backbone(
    folder: Path,
    classifier: nn.Module,
    config: BackboneConfig,
    preprocessing: Preprocessing,
    source: Path | None,
) -> None:
    """Put the plain backbone of `classifier` beside what will be trained on it.

    Args:
        source: a model folder that holds the same backbone, to be linked to and not copied.
    """
    place = folder / "backbone"
    there = (place / "config.json").exists()
    if source is None:
        # built where it is kept already too: what is drawn next is then the same in a run that was
        # killed before its first step and begins anew
        plain = build_backbone(config)
        if not there:
            plain.load_state_dict(classifier.state_dict(), strict=False)
            save_model(place, plain, config, preprocessing)
        return
    if there:
        return
    place.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        target = place / name
        target.unlink(missing_ok=True)
        try:
            os.link(source / name, target)
        except OSError:
            shutil.copyfile(source / name, target)


def save_tuned(
    folder: Path,
    model: nn.Module,
    tuner: str,
    config: BackboneConfig,
    preprocessing: Preprocessing,
    info: Mapping[str, Any],
) -> None:
    """Write what was trained and what belongs to it; `keep_backbone` wrote the rest before."""
    facts = {"model_args": config.model_args, "preprocessing": asdict(preprocessing), **info}
    ADAPTERS[tuner].save(model, folder / "adapter", facts)


@dataclass(frozen=True)
class Kept:
    """What a finished run keeps of a tuned model, read and not yet put together.

    Attributes:
        facts: of the adapter: the task's own, the tuner, the licences.
        config: of the backbone, at the size it was tuned for.
        stored: see `Tuned`.
    """

    facts: Mapping[str, Any]
    config: BackboneConfig
    preprocessing: Preprocessing
    stored: Mapping[str, Any]
    _state: Mapping[str, Tensor]
    _adapter: Path

    def onto(self, model: nn.Module, backbone: nn.Module) -> nn.Module:
        """Give a new `model` the weights; its `backbone` is the model itself or a part of it.

        Raises:
            InputError: they do not fit, or the adapter belongs to another backbone.
        """
        adapting = ADAPTERS[self.facts["tuner"]["name"]]
        load_backbone(backbone, self._state)
        adapting.load(model, self._adapter)
        return adapting.merge(model).eval()


def open_tuned(run: Path) -> Kept:
    """Read what a finished fine-tuning run keeps.

    Raises:
        InputError: it is missing, not finished or damaged.
    """
    finished_run(run, "finetuning")
    backbone = read_model(run / "model" / "backbone")
    adapter = run / "model" / "adapter"
    facts = read_json(adapter / FACTS, "an adapter")
    with _damage(adapter / FACTS):
        ADAPTERS[facts["tuner"]["name"]]
        return Kept(
            facts,
            BackboneConfig(backbone.config.architecture, dict(facts["model_args"])),
            Preprocessing(**facts["preprocessing"]),
            {name: facts["stored"][name] for name in ("size", "fit", "bits")},
            backbone.state,
            adapter,
        )


def load_tuned(run: Path) -> Tuned:
    """Open a finished fine-tuning run.

    Raises:
        InputError: it is missing, not finished or damaged, or its adapter belongs to another
            backbone.
    """
    kept = open_tuned(run)
    with _damage(run / "model" / "adapter" / FACTS):
        task = str(kept.facts.get("task", "multi-label"))
        reading = READINGS[task].of(kept.facts)
    model = build_classifier(kept.config, len(reading.names))
    return Tuned(
        kept.onto(model, model),
        kept.preprocessing,
        kept.stored,
        task,
        reading,
        kept.facts.get("pool"),
        thresholds_of(run / "model", reading.names),
        all_sources(kept.facts),
    )


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} does not say {error}; fine-tune again") from error


def save_thresholds(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Keep the operating points that validation chose; a later evaluation does not move them."""
    points = {
        name: one["operating_point"]["threshold"] for name, one in evaluation["labels"].items()
    }
    write_json(folder / THRESHOLDS, points)


def thresholds_of(folder: Path, labels: Sequence[str]) -> dict[str, float | None]:
    """The operating points that `save_thresholds` kept, None where there are none."""
    if not (folder / THRESHOLDS).exists():
        return dict.fromkeys(labels)
    points = read_json(folder / THRESHOLDS, "a fine-tuned model")
    return {name: points.get(name) for name in labels}
