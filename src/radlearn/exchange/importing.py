"""`radlearn import`: what a file of weights from elsewhere is, and a model of ours made of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from radlearn.errors import InputError, refuse_unless_positive

if TYPE_CHECKING:
    from radlearn.models.imported import Imported, ImportedNetworks

MEDPEFT_ALPHA = 32.0
SHOWN = 5  # names of what did not match


@dataclass(frozen=True)
class ImportConfig:
    """Say what a file of weights is, what of it matched, and what preprocessing belongs to it.

    Known by their content: MRM.pth; MAE and CXR-MAE; ViTs, Swins and ConvNeXts of timm; these, MAE,
    DINOv2 and DINOv3 of Hugging Face; MED-PEFT's fine-tuned files; RegGAN's networks; folders of
    all of these, and our own. With --out it becomes a folder: a backbone for --init, or a model
    that predicts.

    Example: radlearn import MRM.pth --out models/mrm
    Example: radlearn import netG_A2B.pth --out models/t1-to-t2 --source T1 --target T2
    """

    file: Annotated[Path, tyro.conf.Positional]
    """A file of weights, or a folder."""
    out: Path | None = None
    """Folder to write; without it the file is only described."""
    model: str | None = None
    """Timm's name of the architecture, where a file does not say it."""
    heads: int | None = None
    """Of the backbone, which shapes do not say [by its width]."""
    decoder_heads: int | None = None
    """Of MRM's or MAE's image decoder [guessed]."""
    report_heads: int | None = None
    """Of MRM's report decoder [guessed]."""
    preprocessing: Literal["auto", "mrm", "cxr-mae", "imagenet"] = "auto"
    """Whose mean and std belong to it, where the file does not say."""
    labels: tuple[str, ...] = ()
    """What a fine-tuned file's outputs are [by their number: NIH's 14, CheXpert's 5, RSNA's 1]."""
    base: Path | None = None
    """The weights that a LoRA was trained from: they say whether it is merged."""
    merged: bool | None = None
    """Whether the file's weights hold the LoRA's update already [as --base says; else no]."""
    alpha: float | None = None
    """Of the LoRA [MED-PEFT's 32]."""
    registration: Path | None = None
    """RegGAN's R, to go with a generator."""
    source: str = "A"
    """What a generator's source is called."""
    target: str = "B"
    """What its target is called."""
    size: int = 256
    """Side of the slices that a generator was trained on, pixels."""
    target_window: tuple[float, float] = (-1.0, 1.0)
    """Values that a generator's -1 and 1 stand for."""
    max_bytes: int = 2**33
    """Of a file of weights; more is not opened."""

    def __post_init__(self) -> None:
        for name in ("heads", "decoder_heads", "report_heads"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} must be above 0")
        refuse_unless_positive(self, "max_bytes")
        if self.alpha is not None and not 0 < self.alpha < float("inf"):
            raise InputError("--alpha must be above 0")
        if self.target_window[0] >= self.target_window[1]:
            raise InputError("--target-window must rise: give its low and its high end")
        if self.size < 8 or self.size % 4:
            raise InputError("--size must be a multiple of 4, and 8 at least")


def import_weights(config: ImportConfig) -> None:
    """Describe the file and write the folder where one is asked for.

    Raises:
        InputError: the file cannot be understood, is damaged or unsafe, or makes no such folder.
    """
    from radlearn.models.checkpoints import open_checkpoint
    from radlearn.models.imported import ImportedNetworks

    if config.out is not None and config.out.exists() and any(config.out.iterdir()):
        raise InputError(f"{config.out} is not empty; choose another folder")
    for given in (config.file, config.base, config.registration):
        if given is not None:
            _refuse_large(given, config.max_bytes)
    base = _base(config)
    found = open_checkpoint(config.file, config.heads, base, config.model)
    if isinstance(found, ImportedNetworks):
        _networks(config, found)
    else:
        _backbone(config, _with_preprocessing(config, found), base)


def _refuse_large(given: Path, most: int) -> None:
    """Refuse a file, or a folder with one, that is larger than what may be opened."""
    for path in sorted(given.rglob("*")) if given.is_dir() else [given]:
        if path.is_file() and (size := path.stat().st_size) > most:
            raise InputError(
                f"{path} has {size:,} bytes, more than --max-bytes {most:,}; give more only if it "
                "is what you take it for"
            )


def _base(config: ImportConfig) -> "Imported | None":
    from radlearn.models.checkpoints import open_checkpoint
    from radlearn.models.imported import Imported

    if config.base is None:
        return None
    base = open_checkpoint(config.base, config.heads)
    if not isinstance(base, Imported):
        raise InputError(f"--base {config.base} is no backbone; give what the LoRA started from")
    return base


def _with_preprocessing(config: ImportConfig, found: "Imported") -> "Imported":
    from radlearn.models import imported

    if config.preprocessing == "auto":
        return found
    chosen = {
        "mrm": imported.MRM_PREPROCESSING,
        "cxr-mae": imported.CXR_MAE_PREPROCESSING,
        "imagenet": imported.IMAGENET_GREY,
    }[config.preprocessing]
    size, channels = found.preprocessing.size, found.preprocessing.channels
    same = size == chosen.size
    resize = chosen.resize if same else None
    notes = tuple(note for note in found.notes if note not in imported.GUESSES.values())
    taken = replace(chosen, size=size, channels=channels, resize=resize)
    return replace(found, preprocessing=taken, notes=notes)


def _backbone(config: ImportConfig, found: "Imported", base: "Imported | None") -> None:
    from radlearn.exchange.folders import settled, write_backbone, write_classifier
    from radlearn.models.decoder_shapes import fit_decoders, mrm_config
    from radlearn.models.vit_shapes import described, fit_whole, form

    networks, notes = mrm_config(
        found.config, found.decoders, found.kind, config.decoder_heads, config.report_heads
    )
    left = found.unmatched
    if found.decoders:
        left = (*left, *fit_decoders(found.decoders, networks))
    if found.folder is not None:
        left = (*left, *fit_whole(found.state, found.config))
    found = replace(found, unmatched=left, notes=(*found.notes, *notes))
    outputs = form(found.state, found.config.architecture)["num_classes"]
    rows = [("backbone", f"{described(found.config)}: {len(found.state)} tensors matched")]
    if outputs:
        rows.append(("head", f"{outputs} outputs"))
    if found.lora is not None:
        kind = "fused" if found.lora.fused else "stacked"
        rows.append(("LoRA", f"rank {found.lora.rank} on query and value, {kind}"))
        found = settled(found, base, config.merged, config.alpha or found.alpha or MEDPEFT_ALPHA)
    for name, part in (("image", networks.image_decoder), ("report", networks.report_decoder)):
        if part is not None:
            count = sum(k.startswith(f"{name}_decoder.") for k in found.decoders)
            shape = f"{part.width} wide, {part.layers} layers, {part.heads} heads"
            rows.append((f"{name} decoder", f"{shape}: {count} tensors matched"))
    if found.kept:
        rows.append(("kept, not used", _names(found.kept)))
    rows.append(("not matched", _names(found.unmatched) if found.unmatched else "nothing"))
    pre = found.preprocessing
    resize = f"resized to {pre.resize}, " if pre.resize else ""
    rows.append(
        (
            "preprocessing",
            f"grey, {resize}{pre.size} px, mean {_said(pre.mean)}, std {_said(pre.std)}, "
            f"{_whose(found)}",
        )
    )
    _say(config, found.kind, rows, found.notes)
    if config.out is None:
        return
    if found.lora is not None or found.kind == "fine-tuned ViT":
        write_classifier(config.out, found, config.labels, str(config.file.name))
        print(f"written to {config.out}; next: radlearn predict {config.out} FILES")
    else:
        write_backbone(config.out, found, networks)
        following = f"radlearn finetune STORE --run RUN --init {config.out}"
        print(f"written to {config.out}; next: {following}")


def _said(statistic: float | tuple[float, ...]) -> str:
    each = statistic if isinstance(statistic, tuple) else (statistic,)
    return " ".join(f"{one:g}" for one in each)


def _whose(found: "Imported") -> str:
    from radlearn.models.imported import CXR_MAE_PREPROCESSING, IMAGENET_GREY, MRM_PREPROCESSING

    for name, one in (
        ("MRM's", MRM_PREPROCESSING),
        ("CXR-MAE's", CXR_MAE_PREPROCESSING),
        ("ImageNet's colours averaged to grey", IMAGENET_GREY),
    ):
        if (one.mean, one.std) == (found.preprocessing.mean, found.preprocessing.std):
            return name
    return "its own"


def _networks(config: ImportConfig, found: "ImportedNetworks") -> None:
    from radlearn.exchange.folders import write_translator
    from radlearn.models.checkpoints import open_checkpoint
    from radlearn.models.imported import ImportedNetworks

    networks, notes = dict(found.networks), found.notes
    if config.registration is not None:
        beside = open_checkpoint(config.registration)
        if not isinstance(beside, ImportedNetworks) or "R_A" not in beside.networks:
            raise InputError(f"--registration {config.registration} is not RegGAN's R")
        networks["R_A"], notes = beside.networks["R_A"], (*notes, *beside.notes)
    rows = [
        (name, f"{net.described}: {len(net.state)} tensors matched, {net.parameters:,} parameters")
        for name, net in networks.items()
    ]
    rows.append(("not matched", "nothing"))
    rows.append(
        ("preprocessing", f"slices of {config.size} px in [-1, 1], the background exactly -1")
    )
    _say(config, "RegGAN", rows, notes)
    if config.out is not None:
        names = (config.source, config.target)
        window = config.target_window
        write_translator(config.out, networks, names, config.size, window, config.file.name)
        print(f"written to {config.out}; next: radlearn predict {config.out} EXAMS")


def _say(
    config: ImportConfig, kind: str, rows: list[tuple[str, str]], notes: tuple[str, ...]
) -> None:
    print(f"{config.file}: {kind}")
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"  {name:<{width}}  {text}")
    for note in notes:
        print(f"  note: {note}")


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{len(listed)} tensors: {', '.join(listed[:SHOWN])}{more}"
