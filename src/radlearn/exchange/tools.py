"""Exports that timm and PEFT load by themselves."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
from torch import nn

from radlearn.adapters import ADAPTERS
from radlearn.adapters.tuner import FACTS as ADAPTER_FACTS
from radlearn.adapters.tuner import head_tensors
from radlearn.errors import InputError
from radlearn.exchange.checks import (
    Exported,
    compared,
    load_classifier,
    pictures,
    refuse_unmerged,
)
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.lineage import all_sources
from radlearn.models.model_folders import load_model, read_model, save_model
from radlearn.models.weights import load_backbone
from radlearn.records.transforms import Preprocessing

TIMM_FILES = ("config.json", "model.safetensors")


def classifier_to_timm(run: Path, folder: Path) -> Exported:
    """The fine-tuned model, merged, as `timm.create_model("local-dir:...")` loads it.

    Raises:
        InputError: its tuner cannot be merged.
    """
    made = load_classifier(run)
    tuned = made.tuned
    refuse_unmerged(run, made.tuner)
    return _timm(folder, tuned.model, made.config, tuned.preprocessing, made.facts)


def backbone_to_timm(run: Path, folder: Path) -> Exported:
    """A pretraining run's, or an imported, backbone; with the head that came with it, if any."""
    place = run / "model" if (run / "model" / "config.json").exists() else run
    model, saved = load_model(place)
    pre = saved.preprocessing
    facts = {"preprocessing": vars(pre), "licences": all_sources(saved.extra)}
    return _timm(folder, model, saved.config, pre, facts)


def _timm(
    folder: Path,
    model: nn.Module,
    config: BackboneConfig,
    pre: Preprocessing,
    facts: Mapping[str, Any],
) -> Exported:
    save_model(folder, model, config, pre, facts)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    seen = replace(pre, size=config.arguments.get("img_size", pre.size))
    return Exported(
        *compared(model, theirs, pictures(seen)),
        f"timm {timm.__version__}",
        TIMM_FILES,
        'timm.create_model("local-dir:FOLDER", pretrained=True)',
        facts,
    )


def lora_to_peft(run: Path, folder: Path) -> Exported:
    """The adapter as plain PEFT loads it, and its base as plain timm does.

    Raises:
        InputError: the run's tuner is none of peft's.
    """
    import peft

    made = load_classifier(run)
    if not ADAPTERS[made.tuner].peft:
        raise InputError(
            f"{run} was tuned by {made.tuner}, which has no adapter of peft's; export it --to "
            "timm, or --to onnx"
        )
    tuned, pre = made.tuned, made.tuned.preprocessing
    plain = build_classifier(made.config, len(tuned.labels))
    load_backbone(plain, read_model(run / "model" / "backbone").state)
    plain.load_state_dict(head_tensors(tuned.model), strict=False)
    save_model(folder / "base", plain, made.config, pre, made.facts)
    (folder / "adapter").mkdir()
    files = ("adapter_config.json", "adapter_model.safetensors", ADAPTER_FACTS)
    for name in files:
        shutil.copyfile(run / "model" / "adapter" / name, folder / "adapter" / name)
    base = timm.create_model(f"local-dir:{folder / 'base'}", pretrained=True)
    theirs = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    return Exported(
        *compared(tuned.model, theirs, pictures(pre)),
        f"timm {timm.__version__} with peft {peft.__version__}",
        (*(f"base/{name}" for name in TIMM_FILES), *(f"adapter/{name}" for name in files)),
        'peft.PeftModel.from_pretrained(timm.create_model("local-dir:FOLDER/base", '
        'pretrained=True), "FOLDER/adapter")',
        made.facts,
    )
