"""A ViT under LoRA, in full, and answering: steps, memory, and how far probabilities differ."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import narrow_frozen
from radlearn.bench.alone import AGAIN, peaks
from radlearn.bench.figure import OURS, PLAIN, Figure, Setting
from radlearn.bench.plain_lora import make_plain
from radlearn.bench.plain_mrm import plain_attention
from radlearn.bench.timing import Training, in_turn, training_steps
from radlearn.engine.loop import Carry, Phase, seed_step
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.finetuning.terms import classification_loss, outputs_of
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.heads import classifier as head
from radlearn.models.imported import MRM_PREPROCESSING
from radlearn.models.inference import logits
from radlearn.records.batches import Batch
from radlearn.records.transforms import Preprocessing, normalised

RANK = 4
DROP_PATH = 0.1
GOALS = {"lora": 2.3, "full": 2.2}


def lora(setting: Setting) -> Figure:
    """A step of LoRA on query and value, all of it."""
    return _step_figure("lora", setting)


def full(setting: Setting) -> Figure:
    """A step of full fine-tuning, all of it."""
    return _step_figure("full", setting)


def infer(setting: Setting) -> Figure:
    """Answers for a batch of images; the largest difference of a probability is a fact."""
    from radlearn.grids.operations import inference

    sizes, device = setting.sizes, setting.here.device
    model, preprocessing = classifier(setting, 0.0)
    _spread(model)
    images = batch_of(setting)["image"]

    def answers() -> np.ndarray:
        take: Callable[[np.ndarray], Tensor] = lambda at: images[torch.from_numpy(at)]  # noqa: E731
        return logits(model, take, len(images), preprocessing, setting.here, sizes.batch)

    forms: dict[str, Callable[[], object]] = {OURS: answers}
    facts = {}
    if setting.plain:
        plain = copy.deepcopy(model).eval()
        plain_attention(plain)
        plainly = partial(_plain_answers, plain, images.to(device), preprocessing)
        forms = {PLAIN: plainly, OURS: answers}
        ours, theirs = (1 / (1 + np.exp(-found)) for found in (answers(), plainly()))
        facts["largest difference in probability"] = float(np.abs(ours - theirs).max())
        facts["spread of probabilities"] = float(theirs.std())
    return Figure(
        "infer",
        f"answers of {sizes.vit}, {sizes.side} px",
        "images",
        len(images),
        in_turn(forms, setting),
        inference(sizes.vit, sizes.side, sizes.labels),
        facts=facts,
        goal=2.5,
    )


def classifier(setting: Setting, drop_path: float) -> tuple[nn.Module, Preprocessing]:
    """The model that `radlearn finetune` builds, and how it sees images."""
    sizes = setting.sizes
    seed_step(0, 0)
    config = BackboneConfig(sizes.vit, {"img_size": sizes.side})
    model = build_classifier(config, sizes.labels, drop_path)
    return model.to(setting.here.device), replace(MRM_PREPROCESSING, size=sizes.side)


def batch_of(setting: Setting) -> Batch:
    """Noise as images, and labels, a few of them absent."""
    sizes, rng = setting.sizes, np.random.default_rng(0)
    shape = (sizes.batch, 1, sizes.side, sizes.side)
    truth = rng.integers(0, 2, (sizes.batch, sizes.labels)).astype(np.float32)
    truth[rng.random(truth.shape) < 0.1] = np.nan
    return {
        "ids": list(map(str, range(sizes.batch))),
        "image": torch.from_numpy(rng.integers(0, 256, shape, np.uint8)),
        "truth": torch.from_numpy(truth),
    }


def tuning(name: str, setting: Setting, again: bool = False, rank: int = RANK) -> Training:
    """What `radlearn finetune` trains.

    Args:
        again: with `--recompute`.
    """
    model, preprocessing = classifier(setting, DROP_PATH)
    model = ADAPTERS[name].attach(model, TunerConfig(name, rank))
    if setting.here.bfloat16:
        narrow_frozen(model)
    if again:
        model.set_grad_checkpointing(True)  # type: ignore[operator]

    def terms(batch: Batch, carry: Carry) -> tuple[dict[str, Tensor], Carry]:
        outputs = outputs_of(model, batch["image"], preprocessing)
        return {"classification": classification_loss(outputs, batch["truth"])}, carry

    optimizer = build_optimizer(model, OptimConfig("adamw", 1e-5, 0.05))
    phase = Phase("train", optimizer, terms)
    return Training({"model": model}, [phase], batch_of(setting), clip=1.0)


def plain_tuning(name: str, setting: Setting) -> Callable[[], None]:
    """Steps of the plain form of the same."""
    model, preprocessing = classifier(setting, DROP_PATH)
    model = ADAPTERS[name].attach(model, TunerConfig(name, RANK))
    plain_attention(make_plain(model))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, weight_decay=0.05)
    batch = setting.here.put(batch_of(setting))

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        outputs = model(normalised(batch["image"], preprocessing))
        classification_loss(outputs, batch["truth"]).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step


def _step_figure(name: str, setting: Setting) -> Figure:
    from radlearn.grids.operations import finetuning_step  # more than a few steps alone need

    sizes = setting.sizes
    plain = plain_tuning(name, setting) if setting.plain else None
    found = training_steps(tuning(name, setting), setting, plain)
    rank = f", rank {RANK}" if name == "lora" else ""
    again = training_steps(tuning(name, setting, again=True), setting).seconds[OURS]
    memory = peaks(name, setting)
    facts = {"seconds of a step with --recompute": median(again)}
    if AGAIN in memory:
        facts["bytes at the peak with --recompute"] = memory.pop(AGAIN)
    return Figure(
        name,
        f"{name} step of {sizes.vit}{rank}, batch {sizes.batch}, {sizes.side} px",
        "images",
        sizes.batch,
        found.seconds,
        finetuning_step(name, RANK, sizes.vit, sizes.side, sizes.labels),
        memory,
        facts,
        goal=GOALS[name],
    )


def _spread(model: nn.Module) -> None:
    """Give the head weights that make probabilities of every size."""
    with torch.no_grad():
        nn.init.normal_(head(model).weight, std=0.1)


def _plain_answers(model: nn.Module, images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    with torch.no_grad():
        return model(normalised(images, preprocessing)).cpu().numpy()
