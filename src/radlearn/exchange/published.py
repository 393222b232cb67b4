"""Exports under the names that MRM, MAE, MED-PEFT and RegGAN published."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radlearn.engine.device import compute
from radlearn.errors import InputError
from radlearn.exchange.checks import (
    Exported,
    compared,
    distance,
    load_classifier,
    pictures,
    refuse_unmerged,
)
from radlearn.exchange.folders import classifier, settled
from radlearn.files import read_json, replacing
from radlearn.generators.resnet import ResNetGenerator
from radlearn.models.backbone import BackboneConfig, is_plain_vit
from radlearn.models.checkpoints import open_checkpoint
from radlearn.models.imported import KEPT, LEARNT_FROM, OURS, Imported, ImportedNetworks
from radlearn.models.lineage import all_sources, learnt_from
from radlearn.models.medpeft import LAYER
from radlearn.models.published import to_published
from radlearn.models.vit_shapes import form
from radlearn.models.weights import HEADS, read_safetensors
from radlearn.translation.inference import load_translator


def to_mrm(run: Path, folder: Path) -> Exported:
    """Backbone and both decoders as `MRM.pth` has them.

    Raises:
        InputError: there are no two decoders.
    """
    found = _whole(run)
    for part in ("image", "report"):
        if not any(k.startswith(f"{part}_decoder.") for k in found.decoders):
            raise InputError(f"{run} has no {part} decoder, and MRM has both; try --to mae")
    kept = {k: v for k, v in found.kept.items() if k.startswith("bert_encoder.")}
    return _written(folder, "MRM.pth", "MRM", found, to_published(_ours(found)) | kept)


def to_mae(run: Path, folder: Path) -> Exported:
    """Backbone as MAE's checkpoints have it, with its image decoder where that is MAE's."""
    found = _whole(run)
    decoders = {k: v for k, v in found.decoders.items() if k.startswith("image_decoder.")}
    notes = []
    values = decoders.get("image_decoder.predict.weight")
    if values is None:
        notes.append("there is no image decoder: the backbone alone, as MAE's are released")
    elif len(values) != found.preprocessing.channels * _patch(found) ** 2:
        notes.append("its image decoder rebuilds larger images than MAE's: the backbone alone")
        decoders = {}
    state = to_published(_ours(replace(found, decoders=decoders)))
    made = _written(folder, "MAE.pth", "MAE", found, state)
    return replace(made, notes=(*made.notes, *notes))


def to_medpeft(run: Path, folder: Path) -> Exported:
    """A fine-tuned run as MED-PEFT saves its own: LoRA stacked beside the weights, or no LoRA.

    An imported file whose weights held the update goes out as it came in.
    """
    made = load_classifier(run)
    _refuse_unless_vit(run, made.config)
    refuse_unmerged(run, made.tuner)
    model = made.model if made.tuner == "lora" else made.tuned.model
    state, kept = model.state_dict(), _kept(run / "model")
    merged = any(k.endswith(f"{LAYER}weight") for k in kept)
    told: dict[str, Any] = {
        "preprocessing": vars(made.tuned.preprocessing),
        "heads": _heads(model),
        LEARNT_FROM: made.facts["licences"],
    }
    facts = read_json(run / "model" / "adapter" / "radlearn.json", "an adapter")
    alpha = None
    if made.tuner == "lora":
        alpha = facts["tuner"]["alpha"]
        told["alpha"] = alpha
    name = "LoRA.pth" if alpha else "FFT.pth"
    _save(folder / name, {"model": state | kept, OURS: told})
    again = open_checkpoint(folder / name)
    assert isinstance(again, Imported)
    if alpha is not None:
        again = settled(again, None, merged, alpha)
    theirs, _ = classifier(again)
    return Exported(
        *compared(model, theirs.eval(), pictures(made.tuned.preprocessing)),
        "read again by radlearn import",
        (name,),
        f'torch.load("FOLDER/{name}", weights_only=True)["model"]',
        made.facts,
        ("the update is merged into the weights, as in the file that was imported",)
        if merged
        else (),
    )


def to_reggan(run: Path, folder: Path) -> Exported:
    """Each network as a state dict alone: netG_A2B.pth, R_A.pth where there is an R.

    Raises:
        InputError: the generator is of another host than RegGAN's own.
    """
    translator = load_translator(run, compute("cpu", "float32"))
    host = translator.config["networks"]["generator"]
    if host != "resnet":
        raise InputError(f"{run} has the host {host}, and RegGAN published its resnet alone")
    states = {"netG_A2B": translator.generator.state_dict()}
    if translator.registration is not None:
        states["R_A"] = translator.registration.state_dict()
    for key, tensor in _kept(run / "model").items():
        name, _, rest = key.partition(".")
        states.setdefault(name, {})[rest] = tensor
    differences, sizes = [], []
    for name, state in states.items():
        _save(folder / f"{name}.pth", state)
        again = open_checkpoint(folder / f"{name}.pth")
        assert isinstance(again, ImportedNetworks)
        (network,) = again.networks.values()
        apart, largest = distance(state, network.state)
        differences.append(apart)
        sizes.append(largest)
        if name == "netG_A2B":
            theirs: Any = ResNetGenerator(network.config)  # type: ignore[arg-type]
            theirs.load_state_dict(network.state)
            shape = (network.config.channels_in, *[64] * network.config.dims)  # type: ignore[union-attr]
            seen = torch.rand(2, *shape) * 2 - 1
            apart, largest = compared(translator.generator.eval(), theirs.eval(), seen)
            differences.append(apart)
            sizes.append(largest)
    return Exported(
        max(differences),
        max(sizes),
        "weights and translations, read again by radlearn import",
        tuple(f"{name}.pth" for name in states),
        'torch.load("FOLDER/netG_A2B.pth", weights_only=True)',
        {k: translator.config[k] for k in ("source_names", "target_names", "target_windows")}
        | {"licences": all_sources(read_json(run / "config.json", "a run"))},
    )


def _whole(run: Path) -> Imported:
    found = open_checkpoint(run)
    assert isinstance(found, Imported)
    _refuse_unless_vit(run, found.config)
    return found


def _refuse_unless_vit(run: Path, config: BackboneConfig) -> None:
    if not is_plain_vit(config.architecture):
        raise InputError(
            f"{run} holds a {config.architecture}, and these checkpoints are of a plain ViT; "
            "export it --to timm"
        )


def _ours(found: Imported) -> dict[str, Tensor]:
    """Backbone and decoders under our names, without a head."""
    heads = tuple(h for h in HEADS if h != "norm.")
    state = {f"encoder.{k}": v for k, v in found.state.items() if not k.startswith(heads)}
    return state | found.decoders


def _patch(found: Imported) -> int:
    return found.state["patch_embed.proj.weight"].shape[-1]


def _heads(model: Any) -> int:
    return model.blocks[0].attn.num_heads


def _kept(folder: Path) -> dict[str, Tensor]:
    return read_safetensors(folder / KEPT) if (folder / KEPT).exists() else {}


def _written(
    folder: Path, name: str, kind: str, found: Imported, state: Mapping[str, Tensor]
) -> Exported:
    """Save the state, read it again, and compare weights and the backbone's features."""
    kind = found.kind if kind == "MAE" and found.kind == "CXR-MAE" else kind
    pre = found.preprocessing
    told = {
        "kind": kind,
        "preprocessing": vars(pre),
        "heads": _heads(_encoder(found, found)),
        LEARNT_FROM: learnt_from(found),
    }
    _save(folder / name, {"model": dict(state), OURS: told})
    again = open_checkpoint(folder / name)
    assert isinstance(again, Imported)
    apart, _ = distance(
        {k: v for k, v in state.items() if v.is_floating_point() and not k.startswith("bert_enc")},
        {k: v for k, v in to_published(_ours(again)).items() if not k.startswith("bert_enc")},
    )
    ours, theirs = (_encoder(one, found) for one in (found, again))
    difference, largest = compared(ours, theirs, pictures(pre))
    return Exported(
        max(apart, difference),
        largest,
        "weights and features, read again by radlearn import",
        (name,),
        f'torch.load("FOLDER/{name}", weights_only=True)["model"]',
        {"preprocessing": vars(pre), "kind": kind, "licences": learnt_from(found)},
    )


def _encoder(weights: Imported, architecture: Imported) -> Any:
    """A model without head; what it is made of is told by the run, not by the shapes."""
    model = architecture.config.create(**form({}))
    model.load_state_dict({k: weights.state[k] for k in model.state_dict()})
    return model.eval()


def _save(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        torch.save(content, temporary)
