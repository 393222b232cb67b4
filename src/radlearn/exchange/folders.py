"""Folders made of imported weights: a backbone, a fine-tuned run, a translation run."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radlearn import __version__
from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import write_tensors
from radlearn.datasets.medpeft import LABELS_BY_COUNT
from radlearn.errors import InputError
from radlearn.files import writable, write_json
from radlearn.finetuning.tuned import keep_backbone, save_tuned
from radlearn.models.backbone import build_classifier
from radlearn.models.imported import KEPT, LEARNT_FROM, Imported
from radlearn.models.lineage import learnt_from
from radlearn.models.medpeft import LAYER, is_merged, without_update
from radlearn.models.model_folders import save_model
from radlearn.models.mrm import MRMConfig
from radlearn.models.reggan import Network, size_of
from radlearn.models.registration import registration_config
from radlearn.models.vit_shapes import form
from radlearn.models.weights import checked
from radlearn.translation.inference import load_translator
from radlearn.translation.networks import NetworksConfig

DROPOUT = 0.1  # MED-PEFT's, of LoRA


def settled(found: Imported, base: Imported | None, merged: bool | None, alpha: float) -> Imported:
    """A fine-tuned file with its LoRA apart from its weights, whichever way it was saved.

    Args:
        base: what it was trained from, if known.
        merged: whether the weights hold the update; None to let the base tell.

    Raises:
        InputError: the base is another one.
    """
    lora, state, kept = found.lora, found.state, dict(found.kept)
    assert lora is not None
    scale = alpha / lora.rank
    note = "its LoRA is beside its weights"
    if merged is None and base is None:
        merged = False
        note = (
            "its LoRA was taken as not yet merged into its weights, which a file alone cannot say; "
            "--base tells, and --merged True says otherwise"
        )
    elif merged is None and base is not None:
        merged = is_merged(state, lora, scale, base.state)
        note = f"its LoRA is {'merged into' if merged else 'beside'} its weights, by --base"
    if merged:
        kept |= {k: v for k, v in state.items() if k.endswith(f"{LAYER}weight")}
        state = without_update(state, lora, scale, base.state if base is not None else None)
    return replace(found, state=state, kept=kept, alpha=alpha, notes=(*found.notes, note))


def classifier(found: Imported) -> tuple[nn.Module, str]:
    """The fine-tuned model, its LoRA attached, and the name of its tuner.

    Raises:
        InputError: it has no pooled head, by which MRM and MED-PEFT classify.
    """
    if not form(found.state)["num_classes"] or "fc_norm.weight" not in found.state:
        raise InputError(
            f"this {found.kind} has no fc_norm and head to predict with; import its backbone alone"
        )
    model = build_classifier(found.config, len(found.state["head.weight"]))
    own = model.state_dict()
    model.load_state_dict({k: checked(k, found.state[k], v) for k, v in own.items()})
    if found.lora is None:
        return ADAPTERS["full"].attach(model, TunerConfig("full")), "full"
    assert found.alpha is not None
    tuner = TunerConfig("lora", found.lora.rank, found.alpha, DROPOUT)
    model = ADAPTERS["lora"].attach(model, tuner)
    own = model.state_dict()
    tensors = {k: checked(k, v, own[k]) for k, v in found.lora.tensors.items() if k in own}
    expected = [name for name in own if ".lora_" in name]
    if sorted(expected) != sorted(found.lora.tensors):
        raise InputError(
            f"its LoRA is on {len(found.lora.tensors) // 2} layers of {len(expected) // 2}; "
            "one on every layer's query and value is taken"
        )
    model.load_state_dict(tensors, strict=False)
    return model, "lora"


def write_backbone(out: Path, found: Imported, networks: MRMConfig) -> None:
    """A model folder that timm loads and `--init` takes; decoders beside it.

    Raises:
        InputError: the folder cannot be written.
    """
    writable(out)
    model = found.config.create(**form(found.state, found.config.architecture))
    own = model.state_dict()
    model.load_state_dict({k: checked(k, found.state[k], v) for k, v in own.items()})
    if found.decoders:
        decoders = dict(found.decoders)
        if networks.report_decoder is not None and networks.report_decoder.tied:
            decoders.pop("report_decoder.decoder", None)
        write_tensors(out / "mrm.safetensors", _float32(decoders))
    _write_kept(out, found.kept)
    extra = {
        "imported": found.kind,
        "networks": asdict(networks),
        LEARNT_FROM: learnt_from(found),
    }
    save_model(out, model, found.config, found.preprocessing, extra)


def write_classifier(out: Path, found: Imported, labels: tuple[str, ...], name: str) -> None:
    """A finished fine-tuning run that `predict` takes.

    Raises:
        InputError: the number of labels is another, or the file has no head.
    """
    model, tuner = classifier(found)
    count = len(found.state["head.weight"])
    labels = labels or LABELS_BY_COUNT.get(count, tuple(f"label {n + 1}" for n in range(count)))
    if len(labels) != count:
        raise InputError(f"the file has {count} outputs and --labels names {len(labels)}")
    writable(out)
    keep_backbone(out / "model", model, found.config, found.preprocessing, None)
    size = found.preprocessing.resize or found.preprocessing.size
    stored = {"size": size, "fit": "crop", "bits": 8}  # as MED-PEFT's evaluation resizes and cuts
    seen = {LEARNT_FROM: learnt_from(found)}
    facts = {"labels": list(labels), "stored": stored, "licences": [], **seen}
    save_tuned(out / "model", model, tuner, found.config, found.preprocessing, facts)
    _write_kept(out / "model", found.kept)
    told = {"labels": list(labels), "tuner": tuner, "kind": found.kind, **seen}
    _finish(out, "finetuning", name, told)


def write_translator(
    out: Path,
    networks: Mapping[str, Network],
    names: tuple[str, str],
    size: int,
    window: tuple[float, float],
    name: str,
) -> None:
    """A finished translation run that `predict` takes, and `register` where there is an R.

    Args:
        networks: by their published names; those that nothing uses are kept.
        names: of source and target.
        size: side of the slices, pixels.
        window: values that -1 and 1 stand for.

    Raises:
        InputError: there is no generator, or one of another size than ours have.
    """
    G, R = networks.get("netG_A2B"), networks.get("R_A")
    if G is None:
        raise InputError(
            f"{', '.join(networks)} alone translates nothing; import netG_A2B, with R as its "
            "--registration"
        )
    of: Any = G.config
    named = size_of(of)
    if named is None:
        raise InputError(
            f"a generator {of.width} wide with {of.blocks} blocks is of no size that translate "
            "knows (tiny, small or paper), so no folder can be made of it"
        )
    if R is not None and R.config != registration_config(named, of.channels_out, of.dims, size):
        raise InputError(
            f"this R is not the one of a {named} generator and slices of {size} px; give the "
            "--size that both were trained on"
        )
    if min(of.channels_in, of.channels_out) < 1:
        raise InputError("a generator without channels translates nothing")
    made = NetworksConfig("resnet", named, of.channels_in, of.channels_out, of.dims, size)
    mode = "nc" if R is None else "nc+r"
    about = {
        "networks": asdict(made),
        "mode": mode,
        "patch": [size] * 3 if of.dims == 3 else None,
        "axis": "axial",
        "size": [size, size],
        "spacing": None,
        "source_names": _numbered(names[0], of.channels_in),
        "target_names": _numbered(names[1], of.channels_out),
        "target_windows": [list(window)] * of.channels_out,
        "percentile": 99.5,
    }
    writable(out / "model")
    write_tensors(out / "model" / "model.safetensors", _float32(G.state))
    if R is not None:
        write_tensors(out / "model" / "registration.safetensors", _float32(R.state))
    used = ("netG_A2B", "R_A")
    others = {k: net for k, net in networks.items() if k not in used}
    _write_kept(
        out / "model",
        {f"{k}.{key}": v for k, net in others.items() for key, v in net.state.items()},
    )
    write_json(out / "model" / "config.json", about)
    _finish(out, "translation", name, {"mode": mode, "host": "resnet", "size": named})
    load_translator(out)


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{at + 1}" for at in range(count)]


def _write_kept(folder: Path, kept: Mapping[str, Tensor]) -> None:
    if kept:
        write_tensors(folder / KEPT, kept)


def _float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(torch.float32) for name, tensor in tensors.items()}


def _finish(out: Path, mission: str, name: str, facts: Mapping[str, Any]) -> None:
    """What makes the folder a finished run."""
    config = {"mission": mission, "radlearn": __version__, "imported": name, "licences": []}
    write_json(out / "config.json", {**config, **facts})
    write_json(out / "results.json", {"finished": True, "imported": name, "licences": []})
