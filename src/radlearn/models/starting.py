"""How pretraining starts from weights of elsewhere: the backbone, and each decoder that fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radlearn.models.checkpoints import read_checkpoint
from radlearn.models.imported import NATURAL
from radlearn.models.lineage import Sources, learnt_from
from radlearn.models.mrm import MRM
from radlearn.models.published import WORDS
from radlearn.models.weights import checked, fitted, resampled
from radlearn.records.transforms import Preprocessing


@dataclass(frozen=True)
class Started:
    """How pretraining started: one line to say so, and the preprocessing to go on with.

    Attributes:
        preprocessing: None where the weights saw photographs, whose statistics are not taken over.
        learnt_from: what the weights saw, see `lineage.learnt_from`.
    """

    summary: str
    preprocessing: Preprocessing | None
    learnt_from: Sources


def start_from(path: Path, model: MRM) -> Started:
    """Give `model` the backbone at `path`, and each decoder that fits it whole.

    A published report decoder has two word matrices, so ours is untied to take it.

    Raises:
        InputError: as `read_checkpoint`, or the backbone is another architecture's.
    """
    imported = read_checkpoint(path)
    state = fitted(imported.state, model.encoder)
    model.encoder.load_state_dict(state, strict=False)
    said = ["backbone taken"]
    if model.image_decoder is not None:
        taken = _take(_image_decoder(imported.decoders, model), "image_decoder.", model)
        said.append(f"image decoder {'taken' if taken else 'new'}")
    if model.report_decoder is not None:
        taken = _take(_report_decoder(imported.decoders, model), "report_decoder.", model)
        said.append(f"report decoder {'taken' if taken else 'new'}")
    unused = len(imported.unmatched) + len(imported.state.keys() - state.keys())
    return Started(
        f"started from {path} ({imported.kind}): {', '.join(said)}, {unused} tensors not used",
        None if imported.kind in NATURAL else imported.preprocessing.averaged,
        learnt_from(imported),
    )


def _image_decoder(decoders: Mapping[str, Tensor], model: MRM) -> dict[str, Tensor]:
    """The image decoder given, its positions brought to the model's grid of patches."""
    given = {k: v for k, v in decoders.items() if k.startswith("image_decoder.")}
    places = given.get("image_decoder.positions")
    if places is not None and places.ndim == 3:
        encoder = model.encoder
        given["image_decoder.positions"] = resampled(
            places, encoder.patch_embed.grid_size, encoder.num_prefix_tokens
        )
    return given


def _report_decoder(decoders: Mapping[str, Tensor], model: MRM) -> dict[str, Tensor]:
    """The report decoder given; the model's is untied where the given one has two matrices."""
    given = {k: v for k, v in decoders.items() if k.startswith("report_decoder.")}
    report = model.report_decoder
    words = given.get(WORDS)
    if report is None or words is None:
        return {}
    matrix = given.setdefault("report_decoder.decoder", words)
    if report.decoder is None:
        own = report.embeddings.word_embeddings.weight
        if matrix is words or torch.equal(matrix, words):
            del given["report_decoder.decoder"]
        elif matrix.shape == words.shape == own.shape:
            report.untie()
    return given


def _take(given: Mapping[str, Tensor], prefix: str, model: MRM) -> bool:
    """Load one decoder if every one of its tensors is given in the right shape, else none."""
    own = {k: v for k, v in model.state_dict().items() if k.startswith(prefix)}
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        return False
    model.load_state_dict({k: checked(k, v, own[k]) for k, v in given.items()}, strict=False)
    return True
