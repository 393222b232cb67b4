"""The step of masked record modeling: image and report, as the paper trains."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from radlearn.bench.figure import Figure, Setting
from radlearn.bench.plain_mrm import plain_attention, plain_loss
from radlearn.bench.timing import Training, training_steps
from radlearn.engine.loop import Carry, Phase, seed_step
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.grids.operations import pretraining_step
from radlearn.models.imported import MRM_PREPROCESSING
from radlearn.models.mrm import MRM, SIZES
from radlearn.pretraining.terms import Objective, pretraining_terms
from radlearn.records.batches import Batch

BETAS = (0.9, 0.95)
LENGTHS = (20, 100)
"""Shortest and longest report of a batch, in tokens, evenly between."""
MASK, FIRST_WORD = 3, 4
HIDDEN = 0.5


def pretrain(setting: Setting) -> Figure:
    """Seconds of a step of MRM, all of it."""
    training, objective = pretraining(setting)
    model = training.nets["model"]
    assert isinstance(model, MRM)
    plain = plain_step(model, training.batch, objective) if setting.plain else None
    found = training_steps(training, setting, plain)
    sizes = setting.sizes
    return Figure(
        "pretrain",
        f"MRM step, {sizes.mrm}, batch {sizes.batch}, {2 * sizes.side} px rebuilt",
        "records",
        sizes.batch,
        found.seconds,
        pretraining_step(sizes.mrm),
        goal=3.3,
        least_share=0.7,
    )


def pretraining(setting: Setting) -> tuple[Training, Objective]:
    """What `radlearn pretrain` trains, on a batch made by script."""
    sizes = setting.sizes
    config = SIZES[sizes.mrm]
    arguments = {**config.backbone.model_args, "img_size": sizes.side}
    config = replace(config, backbone=replace(config.backbone, model_args=arguments))
    seed_step(0, 0)
    model = MRM(config).to(setting.here.device)
    objective = Objective(replace(MRM_PREPROCESSING, size=sizes.side))
    optimizer = build_optimizer(model, OptimConfig("adamw", 1e-5, 0.05, betas=BETAS))

    def terms(batch: Batch, carry: Carry) -> tuple[dict[str, torch.Tensor], Carry]:
        return pretraining_terms(model, batch, objective), carry

    batch = records(model, sizes.batch)
    return Training({"model": model}, [Phase("train", optimizer, terms)], batch), objective


def records(model: MRM, count: int) -> Batch:
    """Noise as images, and reports of every length, half of their words hidden."""
    assert model.report_decoder is not None
    rng = np.random.default_rng(0)
    length, words = model.report_decoder.config.positions, model.report_decoder.config.words
    tokens = rng.integers(FIRST_WORD, words, (count, length))
    lengths = np.linspace(*LENGTHS, count).round()
    real = np.arange(length) < lengths[:, None]
    hidden = real & (rng.random((count, length)) < HIDDEN)
    hidden[:, 1] = True
    side = model.target_size
    return {
        "ids": list(map(str, range(count))),
        "image": torch.from_numpy(rng.integers(0, 256, (count, 1, side, side), np.uint8)),
        "noise": torch.from_numpy(rng.random((count, model.patch_count), np.float32)),
        "has_image": torch.ones(count, dtype=torch.bool),
        "has_report": torch.ones(count, dtype=torch.bool),
        "tokens": torch.from_numpy(np.where(real, tokens, 0)),
        "masked_tokens": torch.from_numpy(np.where(real, np.where(hidden, MASK, tokens), 0)),
        "hidden": torch.from_numpy(hidden),
    }


def plain_step(model: MRM, batch: Batch, objective: Objective) -> partial[None]:
    """A step of the plain form of `model`, of which it has a copy."""
    plain = copy.deepcopy(model)
    plain_attention(plain)
    trained = [p for p in plain.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, BETAS, weight_decay=0.05)
    device = next(plain.parameters()).device
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    return partial(_step, plain, optimizer, moved, objective)


def _step(model: MRM, optimizer: torch.optim.Optimizer, batch: Batch, objective: Objective) -> None:
    model.train()
    optimizer.zero_grad()
    plain_loss(model, batch, objective).backward()
    optimizer.step()
