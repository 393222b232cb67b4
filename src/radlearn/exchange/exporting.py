"""`radlearn export`: a run in another tool's format, loaded again by that tool and compared."""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from radlearn.errors import InputError
from radlearn.files import read_json, writable, write_json

if TYPE_CHECKING:
    from radlearn.exchange.checks import Exported

Target = Literal["timm", "peft", "onnx", "mrm", "mae", "medpeft", "reggan"]

FACTS = "export.json"
TOLERANCE = {"onnx": 1e-4}
"""Largest difference of outputs, relative to the largest output; 1e-5 where not said otherwise."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a finished run, or an imported model, as other tools load it.

    What was written is loaded again by the outside library and run on a batch; the largest
    difference to ours is printed, and an export that differs too much is not kept.

    Example: radlearn export runs/lora --to peft
    Example: radlearn export runs/lora --to onnx --out served
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run, or a folder that radlearn import wrote."""
    to: Target
    """timm, peft and onnx for their tools; mrm, mae, medpeft and reggan: the papers' own names."""
    out: Path | None = None
    """Folder to write [RUN/exported/TO]; an earlier export there is replaced."""


def export(config: ExportConfig) -> None:
    """Write the export, compare it, and say how to load it.

    Raises:
        InputError: the run is not finished or has nothing of the kind, a library is missing, or the
            export computes something else.
    """
    import torch

    torch.manual_seed(0)  # the batch that is compared
    write = _writer(_mission(config.run), config.to)
    out = config.out or config.run / "exported" / config.to
    with _replacing_folder(out) as folder:
        done = write(config.run, folder)
        limit = TOLERANCE.get(config.to, 1e-5)
        relative = done.difference / done.largest if done.largest else done.difference
        print(
            f"parity: largest difference {done.difference:.3g} of outputs up to "
            f"{done.largest:.3g} ({done.compared})"
        )
        if not math.isfinite(relative) or relative > limit:
            raise InputError(
                f"the export computes something else: it differs by {relative:.3g} of the largest "
                f"output, and {limit:g} is allowed; nothing was kept"
            )
        facts = {"to": config.to, "run": str(config.run), "difference": done.difference}
        write_json(folder / FACTS, {**facts, **done.facts})
    for line in done.notes:
        print(f"note: {line}")
    print(f"written to {out}: {', '.join(done.files)}")
    print(f"load: {done.load.replace('FOLDER', str(out))}")


def _mission(run: Path) -> str:
    """The mission of a finished run; "model" for a model folder."""
    from radlearn.engine.folder import finished_run

    config = read_json(run / "config.json", "a run or a model folder")
    if isinstance(config, dict) and "architecture" in config:
        return "model"
    return str(finished_run(run).get("mission"))


def _writer(mission: str, to: Target) -> "Callable[[Path, Path], Exported]":
    from radlearn.exchange import onnx_files, published, tools

    writers: dict[str, dict[str, Callable[[Path, Path], Exported]]] = {
        "finetuning": {
            "timm": tools.classifier_to_timm,
            "peft": tools.lora_to_peft,
            "onnx": onnx_files.classifier_to_onnx,
            "medpeft": published.to_medpeft,
        },
        "pretraining": {
            "timm": tools.backbone_to_timm,
            "mrm": published.to_mrm,
            "mae": published.to_mae,
        },
        "translation": {
            "onnx": onnx_files.generator_to_onnx,
            "reggan": published.to_reggan,
        },
    }
    writers["model"] = writers["pretraining"]
    of = writers.get(mission, {})
    if to not in of:
        kind = "a model folder" if mission == "model" else f"a run of {mission}"
        can = f"it can be exported to {', '.join(of)}" if of else "it cannot be exported"
        raise InputError(f"{kind} has nothing to export to {to}; {can}")
    return of[to]


@contextmanager
def _replacing_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it when all is well, and is gone when it is not."""
    if out.exists() and any(out.iterdir()) and not (out / FACTS).exists():
        raise InputError(f"{out} is not empty and is no earlier export; choose another --out")
    writable(out.parent)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        writable(part)
        yield part
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
