"""`radlearn finetune`: a backbone and few labels in; a model, its scores and its page out."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.adapters.tuner import narrow_frozen, read_options
from radlearn.engine.cost import Cost
from radlearn.engine.device import Compute, compute
from radlearn.engine.folder import RunFolder, settings
from radlearn.engine.log import console
from radlearn.engine.loop import Best, FitConfig, Phase, fit, seed_step
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.engine.processes import main_first
from radlearn.engine.schedule import SCHEDULES
from radlearn.errors import InputError
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.task import Setup, Task
from radlearn.finetuning.tasks import TASKS
from radlearn.finetuning.tuned import keep_backbone, save_tuned
from radlearn.models.backbone import BackboneConfig
from radlearn.models.channels import with_channels
from radlearn.models.checkpoints import read_checkpoint
from radlearn.models.image_size import at_size, default_side
from radlearn.models.imported import LEARNT_FROM, MRM_PREPROCESSING, Imported
from radlearn.models.lineage import MARKS, Seen, learnt_from, marks, pretrained_on
from radlearn.models.mrm import SIZES
from radlearn.models.weights import load_backbone
from radlearn.records.record import Split
from radlearn.records.store import Store, open_store
from radlearn.records.transforms import Preprocessing


def finetune(config: FinetuneConfig) -> None:
    """Train, answer for validation and test, score the answers, and write the page.

    Raises:
        InputError: a store, a checkpoint or a setting does not fit; the message says which.
    """
    stores = [open_store(path) for path in config.stores]
    task = TASKS[config.task].of(stores, config)
    start = _start(config)
    here = compute(config.device, config.precision)
    told = settings(config) | task.settings()
    told |= {
        "licences": task.records[Split.TRAIN].licences(),
        "fingerprints": {
            str(split): records.fingerprint() for split, records in task.records.items()
        },
        LEARNT_FROM: learnt_from(start.imported),
        MARKS: _marks(task, start, stores),
    }
    run = main_first(here, lambda: RunFolder.begin(config.run, "finetuning", told, here.is_main))
    try:
        if not run.finished:
            _train(config, run, task, start, here)
        if here.is_main and not (run.path / "report.html").exists():
            task.page(run)
            console.print(f"page: {run.path / 'report.html'}")
    except InputError:
        run.abandon()
        raise
    finally:
        run.close()


class Start(NamedTuple):
    """A backbone to start from."""

    config: BackboneConfig
    preprocessing: Preprocessing
    imported: Imported | None


def _marks(task: Task[Any], start: Start, stores: Sequence[Store]) -> list[str]:
    """What has to be said of scores on the records held apart, since patients may be known."""
    held = task.records.get(Split.TEST, task.records.get(Split.VAL))
    if held is None:
        return []
    return marks(held, Seen("training", stores, ()), pretrained_on(start.imported))


def _start(config: FinetuneConfig) -> Start:
    size = SIZES.get(config.model)
    if config.init is None:
        imported = None
        backbone = size.backbone if size else BackboneConfig(config.model)
        more = {"patch_size": config.patch, "in_chans": config.channels}
        arguments = backbone.model_args | {k: v for k, v in more.items() if v is not None}
        backbone = replace(backbone, model_args=arguments)
        side = config.image_size or (224 if size else default_side(backbone))
        preprocessing = replace(MRM_PREPROCESSING, size=side, channels=config.channels or 3)
    else:
        imported = read_checkpoint(config.init, None if size else config.model)
        if config.channels is not None:
            imported = with_channels(imported, config.channels)
        backbone, own = imported.config, imported.preprocessing
        side = config.image_size or own.size
        resize = None if own.resize is None else round(side * own.resize / own.size)
        preprocessing = replace(own, size=side, resize=resize)
    return Start(at_size(backbone, side), preprocessing, imported)


def _plain(config: FinetuneConfig, run: RunFolder, task: Task[Any], start: Start) -> nn.Module:
    """The model before anything is tuned; the backbone it stands on is kept in the run."""
    seed_step(config.seed, 0)
    model = task.build(start.config, config.drop_path)
    backbone = task.backbone(model)
    if start.imported is not None:
        load_backbone(backbone, start.imported.state)
    source = start.imported.folder if start.imported is not None else None
    if run.main:
        keep_backbone(run.model, backbone, start.config, start.preprocessing, source)
    return model


def _tuner(config: FinetuneConfig, steps: int) -> TunerConfig:
    return TunerConfig(
        config.tuner,
        config.rank,
        config.alpha,
        config.lora_dropout,
        config.where,
        steps,
        read_options(config.tuner_options),
    )


def recompute(backbone: nn.Module, here: Compute) -> None:
    """Let a timm model keep what goes into its blocks alone; the gradients are the same bits.

    Raises:
        InputError: with several processes, whose shares of chance are cut in the forward pass.
    """
    if here.world > 1:
        raise InputError("--recompute is for one process; leave it out under a launcher")
    backbone.set_grad_checkpointing(True)  # type: ignore[operator]


def _train(
    config: FinetuneConfig, run: RunFolder, task: Task[Any], start: Start, here: Compute
) -> None:
    train = task.records[Split.TRAIN]
    setup = Setup(config, start.preprocessing, here)
    model = _plain(config, run, task, start).to(here.device)
    task.start_head(model, setup)
    steps = config.steps or math.ceil(config.epochs * task.count(Split.TRAIN) / config.batch)
    adapter = ADAPTERS[config.tuner]
    if here.sharded and (adapter.after or adapter.terms):
        raise InputError(f"--tuner {config.tuner} looks at whole weights; launch without FSDP")
    model = adapter.attach(model, _tuner(config, steps))
    if here.bfloat16 and not here.sharded:
        narrow_frozen(model)
    if config.recompute:
        recompute(task.backbone(model), here)
    adapt = adapter.after(model) if adapter.after is not None else None
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    console.print(
        f"{len(train):,} training records, {task.summary}; {trained:,} parameters "
        f"train; {steps:,} steps on {here.device} in {'bfloat16' if here.bfloat16 else 'float32'}"
    )
    learner = task.learner(model, setup)
    cost = Cost(here.device)

    def terms(batch: dict[str, Any], carry: Any) -> tuple[dict[str, Tensor], Any]:
        cost.begin()
        more = adapter.terms(model) if adapter.terms is not None else {}
        return learner.terms(batch) | more, carry

    def after() -> None:
        if adapt is not None:
            adapt()
        cost.end()

    def evaluate(step: int) -> dict[str, float]:
        return {task.metric: task.score(learner.answers(Split.VAL), Split.VAL)}

    def trained_weights() -> dict[str, Tensor]:
        return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    best = Best(
        task.metric, trained_weights, lambda state: model.load_state_dict(state, strict=False)
    )
    validated = Split.VAL in task.records
    optimizer = build_optimizer(
        model, OptimConfig(config.optimizer, config.lr, config.weight_decay, config.layer_decay)
    )
    scores = fit(
        {"model": model},
        [Phase("train", optimizer, terms)],
        learner.batches,
        run=run,
        config=FitConfig(
            steps=steps,
            seed=config.seed,
            clip=1.0,
            workers=config.workers,
            on_fault=config.on_fault,
            log_every=max(1, steps // 100),
            evaluate_every=max(1, steps // config.evaluations),
            save_every=max(1, min(500, steps // 2)),
        ),
        compute=here,
        schedule=lambda step: SCHEDULES[config.schedule](
            step + 1, warmup=config.warmup * steps, total=steps, lr=config.lr, floor=config.lr_floor
        ),
        evaluate=evaluate if validated else None,
        best=best if validated else None,
        after=after,
        tell=learner.told,
    )
    model.eval()
    with torch.no_grad():
        held = (split for split in task.records if split is not Split.TRAIN)
        answers: dict[Split, Any] = {split: learner.answers(split) for split in held}
    if not here.is_main:
        return
    task.write(run.path, answers)
    task.finish(model)
    info = {
        "task": task.name,
        **task.facts(),
        "stored": {name: train.stores[0].info[name] for name in ("size", "fit", "bits")},
        "licences": run.config["licences"],
        LEARNT_FROM: run.config[LEARNT_FROM],
    }
    save_tuned(run.model, model, config.tuner, start.config, start.preprocessing, info)
    run.finish(
        {
            "best": scores,
            "steps": steps,
            "parameters_trained": trained,
            **cost.as_json(),
            "records": {str(split): len(records) for split, records in task.records.items()},
            "fingerprints": run.config["fingerprints"],
            **{name: run.config[name] for name in ("licences", LEARNT_FROM, MARKS)},
        }
    )
