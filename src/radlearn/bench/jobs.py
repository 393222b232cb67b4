"""Whole fine-tuning jobs: from a store to results, and from PNG files to scores."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.bench.figure import OURS, PLAIN, Figure, Setting
from radlearn.bench.phantom_store import Made, phantom_store
from radlearn.bench.plain_image import batch_of, scoring_view, training_view
from radlearn.bench.plain_lora import make_plain
from radlearn.bench.plain_mrm import plain_attention
from radlearn.bench.timing import in_turn
from radlearn.engine.loop import seed_step
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.run import finetune
from radlearn.finetuning.terms import classification_loss
from radlearn.metrics.classification import mean_auroc
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.records.batches import batch_positions
from radlearn.records.record import Split

GOALS = {"lora": 2.5, "linear": 20.0}
EVALUATIONS = 4


def job_lora(setting: Setting) -> Figure:
    """A run of LoRA on few labels."""
    return _job("lora", setting)


def job_linear(setting: Setting) -> Figure:
    """A run of a linear head, whose features are computed once."""
    return _job("linear", setting)


def _job(tuner: str, setting: Setting) -> Figure:
    job, side = setting.sizes.job, setting.sizes.side
    folder = setting.folder / f"job-{tuner}"
    made = phantom_store(folder, job.patients, setting.sizes.picture, side)
    numbers = iter(range(10**9))
    train = len(_paths(made, Split.TRAIN))
    steps = job.steps if tuner == "lora" else max(job.epochs * train // job.batch, 1)

    def ours() -> None:
        finetune(
            FinetuneConfig(
                (made.store.path,),
                folder / f"run-{next(numbers)}",
                model=job.vit,
                image_size=side,
                tuner=tuner,
                steps=steps,
                batch=job.batch,
                evaluations=EVALUATIONS,
                device=setting.here.device.type,  # type: ignore[arg-type]
                precision="bfloat16" if setting.here.bfloat16 else "float32",
            )
        )

    forms: dict[str, Callable[[], object]] = {OURS: ours}
    if setting.plain:
        forms[PLAIN] = lambda: plain_job(tuner, made, steps, setting)
    return Figure(
        f"job-{tuner}",
        f"{tuner} run, {job.vit}, {train} training images, {steps} steps of {job.batch}",
        "runs",
        1,
        in_turn(forms, setting, warm=0),
        goal=GOALS[tuner],
    )


def plain_job(tuner: str, made: Made, steps: int, setting: Setting) -> tuple[float, float]:
    """Train with every image decoded whenever it is seen; mean AUROC of validation and of test."""
    job, side, device = setting.sizes.job, setting.sizes.side, setting.here.device
    labels = made.store.label_values
    seed_step(0, 0)
    config = BackboneConfig(job.vit, {"img_size": side})
    model = build_classifier(config, labels.shape[1], 0.1).to(device)
    model = ADAPTERS[tuner].attach(model, TunerConfig(tuner))
    plain_attention(make_plain(model))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, weight_decay=0.05)
    places = {split: _places(made, split) for split in Split}
    view = training_view(side)
    score = float("nan")
    for step in range(steps):
        drawn = batch_positions(0, step, len(places[Split.TRAIN]), job.batch)
        chosen = places[Split.TRAIN][drawn]
        model.train()
        optimizer.zero_grad()
        outputs = model(batch_of(_of(made, chosen), view).to(device))
        truth = torch.from_numpy(labels[chosen]).to(device)
        classification_loss(outputs, truth).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if (step + 1) % max(steps // EVALUATIONS, 1) == 0:
            score = _auroc(model, made, places[Split.VAL], setting)
    return score, _auroc(model, made, places[Split.TEST], setting)


def _auroc(model: nn.Module, made: Made, chosen: np.ndarray, setting: Setting) -> float:
    view, size = scoring_view(setting.sizes.side), 2 * setting.sizes.job.batch
    found: list[Tensor] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(chosen), size):
            images = batch_of(_of(made, chosen[start : start + size]), view)
            found.append(model(images.to(setting.here.device)).cpu())
    return mean_auroc(torch.cat(found).double().numpy(), made.store.label_values[chosen])


def _places(made: Made, split: Split) -> np.ndarray:
    return np.flatnonzero((made.store.rows["split"] == split.value).to_numpy())


def _paths(made: Made, split: Split) -> list[Path]:
    return _of(made, _places(made, split))


def _of(made: Made, places: Sequence[int] | np.ndarray) -> list[Path]:
    return [made.pictures[int(at)] for at in places]
