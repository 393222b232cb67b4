"""Exports as ONNX: fine-tuned classifiers, merged, and the generators of translations."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radlearn.engine.device import compute
from radlearn.errors import InputError
from radlearn.exchange.checks import Exported, compared, load_classifier, pictures
from radlearn.files import read_json
from radlearn.models.attention import choose_attention
from radlearn.models.lineage import all_sources
from radlearn.translation.inference import load_translator

FILE = "model.onnx"


def classifier_to_onnx(run: Path, folder: Path) -> Exported:
    """Logits of normalised pictures (batch, channels, size, size); any number of them.

    Raises:
        InputError: onnx is not installed, or cannot say what the model does.
    """
    made = load_classifier(run)
    model, pre = made.tuned.model, made.tuned.preprocessing
    choose_attention(model, torch.device("cpu"))
    return _onnx(folder, model, (pictures(pre, 2), pictures(pre, 5)), "logits", made.facts)


def generator_to_onnx(run: Path, folder: Path) -> Exported:
    """G(a) of slices (batch, channels, height, width) in [-1, 1]; any number of them.

    Raises:
        InputError: as `classifier_to_onnx`, or the run is three-dimensional.
    """
    translator = load_translator(run, compute("cpu", "float32"))
    config = translator.config
    networks = config["networks"]
    if networks["dims"] != 2:
        raise InputError(f"{run} translates volumes; ONNX is written for slices, of --dims 2")
    names = ("source_names", "target_names", "target_windows", "percentile", "size", "axis")
    facts = {name: config[name] for name in (*names, "spacing", "mode")}
    facts["licences"] = all_sources(read_json(run / "config.json", "a run"))
    shape = (networks["channels_in"], *config["size"])
    batches = torch.rand(2, *shape) * 2 - 1, torch.rand(3, *shape) * 2 - 1
    return _onnx(folder, translator.generator.eval(), batches, "translated", facts)


def _onnx(
    folder: Path,
    model: nn.Module,
    batches: tuple[Tensor, Tensor],
    output: str,
    facts: Mapping[str, Any],
) -> Exported:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 -- what torch.onnx writes with
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install 'radlearn[onnx]'") from error
    place = folder / FILE
    _write(model, batches[0], output, place)
    written = onnx.load(place)
    entry = written.metadata_props.add()
    entry.key, entry.value = "radlearn", json.dumps(facts)
    onnx.save(written, place)
    onnx.checker.check_model(place, full_check=True)
    session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])

    def theirs(images: Tensor) -> Tensor:
        (made,) = session.run([output], {"images": images.numpy()})
        return torch.from_numpy(np.asarray(made))

    counts = [len(batch) for batch in batches]
    return Exported(
        *compared(model, theirs, *batches),
        f"onnxruntime {onnxruntime.__version__}, batches of {' and '.join(map(str, counts))}",
        (FILE,),
        'onnxruntime.InferenceSession("FOLDER/model.onnx").run(None, {"images": ...})',
        facts,
    )


def _write(model: nn.Module, images: Tensor, output: str, place: Path) -> None:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.no_grad(),
        ):
            # the exporter tells of its own insides; the comparison tells whether it went well
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (images,),
                place,
                dynamo=True,
                input_names=["images"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the exporter cannot follow
        raise InputError(
            f"{type(model).__name__} cannot be written as ONNX ({type(error).__name__}: "
            f"{str(error)[:200]}); export it --to timm where it is a classifier"
        ) from error
    finally:
        log.setLevel(level)
