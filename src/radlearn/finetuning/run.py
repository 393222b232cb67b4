"""`radlearn finetune`: a backbone and few labels in; a model, its scores and its page out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from radlearn.adapters import ADAPTERS, TunerConfig
from radlearn.engine.device import Compute, compute
from radlearn.engine.folder import RunFolder, settings
from radlearn.engine.log import console, read_metrics
from radlearn.engine.loop import Best, FitConfig, Phase, fit, seed_step
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.engine.schedule import warmup_cosine
from radlearn.errors import InputError
from radlearn.evaluate import EvaluateConfig, evaluate_run, mistakes, read_predictions
from radlearn.files import replacing
from radlearn.finetuning.batches import FinetuneBatches
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.features import (
    FeatureBatches,
    feature_terms,
    has_plain_head,
    head_logits,
    pooled,
    start_head,
)
from radlearn.finetuning.terms import TermSettings, finetuning_terms
from radlearn.finetuning.tuned import keep_backbone, save_thresholds, save_tuned
from radlearn.metrics.classification import mean_auroc
from radlearn.models.backbone import BackboneConfig, build_classifier
from radlearn.models.checkpoints import MRM_PREPROCESSING, Imported, read_checkpoint
from radlearn.models.inference import logits
from radlearn.models.mrm import SIZES
from radlearn.models.weights import load_backbone
from radlearn.records.record import Split
from radlearn.records.store import Need, Selection, Store, open_store, select
from radlearn.records.transforms import Preprocessing
from radlearn.report.finetuning import Mistake, finetuning_page

SHOWN_MISTAKES = 12


class Task(NamedTuple):
    """What is to be learned from which records; a split without records is absent."""

    labels: tuple[str, ...]
    records: dict[Split, Selection]
    truth: dict[Split, Float32[np.ndarray, "records labels"]]


def finetune(config: FinetuneConfig) -> None:
    """Train, predict validation and test, score them, and write the page.

    Raises:
        InputError: a store, a checkpoint or a setting does not fit; the message says which.
    """
    stores = [open_store(path) for path in config.stores]
    task = _task(stores, config)
    here = compute(config.device, config.precision)
    train = task.records[Split.TRAIN]
    run = RunFolder.begin(
        config.run,
        "finetuning",
        settings(config)
        | {
            "labels": list(task.labels),
            "licences": train.licences(),
            "fingerprints": {
                str(split): records.fingerprint() for split, records in task.records.items()
            },
        },
        here.is_main,
    )
    try:
        if not run.finished:
            _train(config, run, task, here)
        if here.is_main:
            _score(run, task)
    except InputError:
        run.abandon()
        raise
    finally:
        run.close()


def _task(stores: list[Store], config: FinetuneConfig) -> Task:
    needs: frozenset[Need] = frozenset({"image", "labels"})
    whole = select(stores, split=Split.TRAIN, view=config.view, needs=needs)
    labels = config.labels or _learnable(whole, stores, config)
    known = ~np.isnan(whole.labels(labels, config.uncertain)).all(axis=1)
    train = whole.take(np.flatnonzero(known))
    records = {Split.TRAIN: train.take(range(max(round(config.fraction * len(train)), 1)))}
    for split in (Split.VAL, Split.TEST):
        try:
            records[split] = select(stores, split=split, view=config.view, needs=needs)
        except InputError:
            console.print(f"no {split} records: nothing is {_for(split)}")
    for split in records.keys() - {Split.TRAIN}:
        if shared := records[split].shared_with(train):
            raise InputError(
                f"{len(shared)} {split} records, such as {shared[0]}, are of patients that are "
                "trained on; prepare one of the stores again with --link to the other"
            )
    truth = {
        split: found.labels(labels, config.uncertain if split is Split.TRAIN else "ignore")
        for split, found in records.items()
    }
    return Task(tuple(labels), records, truth)


def _for(split: Split) -> str:
    return "held apart to choose the best step" if split is Split.VAL else "scored"


def _learnable(records: Selection, stores: list[Store], config: FinetuneConfig) -> tuple[str, ...]:
    names = list(dict.fromkeys(name for store in stores for name in store.label_names))
    truth = records.labels(names, config.uncertain)
    both = (np.nansum(truth == 1, axis=0) > 0) & (np.nansum(truth == 0, axis=0) > 0)
    found = tuple(name for name, has_both in zip(names, both, strict=True) if has_both)
    if not found:
        raise InputError(
            f"no label of {', '.join(names) or 'the stores (they have none)'} has both classes "
            "among the training records; prepare a store with labels"
        )
    return found


class Start(NamedTuple):
    """A backbone to start from."""

    config: BackboneConfig
    preprocessing: Preprocessing
    imported: Imported | None


def _start(config: FinetuneConfig) -> Start:
    imported = read_checkpoint(config.init) if config.init is not None else None
    if imported is None:
        size = SIZES.get(config.model)
        backbone = size.backbone if size else BackboneConfig(config.model)
        side = config.image_size or 224
        preprocessing = replace(MRM_PREPROCESSING, size=side)
    else:
        backbone = imported.config
        side = config.image_size or imported.preprocessing.size
        preprocessing = replace(imported.preprocessing, size=side, resize=None)
    arguments = {**backbone.model_args, "img_size": side}
    if config.init is None and config.patch is not None:
        arguments["patch_size"] = config.patch
    return Start(replace(backbone, model_args=arguments), preprocessing, imported)


def _plain(config: FinetuneConfig, run: RunFolder, task: Task, start: Start) -> nn.Module:
    """The classifier before anything is tuned; the backbone it stands on is kept in the run."""
    seed_step(config.seed, 0)
    model = build_classifier(start.config, len(task.labels), config.drop_path)
    if start.imported is not None:
        load_backbone(model, start.imported.state)
    source = None
    if start.imported is not None and start.imported.folder is not None:
        source = start.imported.folder
    if run.main:
        keep_backbone(run.model, model, start.config, start.preprocessing, source)
    return model


def _train(config: FinetuneConfig, run: RunFolder, task: Task, here: Compute) -> None:
    start = _start(config)
    train = task.records[Split.TRAIN]
    augment = config.augment if config.augment is not None else config.tuner != "linear"
    make = FinetuneBatches(
        train,
        task.truth[Split.TRAIN],
        start.preprocessing,
        config.batch,
        config.seed,
        augment,
        (config.crop, 1.0),
        here.rank,
        here.world,
    )
    model = _plain(config, run, task, start).to(here.device)
    if config.head_start == "records" and has_plain_head(model):
        whole = replace(make, augment=False)
        features = pooled(model, whole, start.preprocessing, here, 2 * config.batch)
        start_head(model, features, torch.from_numpy(make.labels))
    tuner = TunerConfig(config.tuner, config.rank, config.alpha, config.lora_dropout)
    model = ADAPTERS[config.tuner].attach(model, tuner)
    steps = config.steps or math.ceil(config.epochs * len(train) / config.batch)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    console.print(
        f"{len(train):,} training records, {len(task.labels)} labels; {trained:,} parameters "
        f"train; {steps:,} steps on {here.device} in {'bfloat16' if here.bfloat16 else 'float32'}"
    )

    def held(split: Split) -> FinetuneBatches:
        return replace(make, records=task.records[split], labels=task.truth[split], augment=False)

    def whole_model(split: Split) -> Float[np.ndarray, "records labels"]:
        seen = held(split)
        return logits(
            model,
            lambda positions: seen.of(positions, 0)["image"],
            len(seen.records),
            start.preprocessing,
            here,
            2 * config.batch,
        )

    batches: Any = make
    predict = whole_model
    terms = TermSettings(start.preprocessing)

    def batch_terms(batch: dict[str, Any], carry: Any) -> tuple[dict[str, Tensor], Any]:
        return finetuning_terms(model, batch, terms), carry

    if config.tuner == "linear" and not augment and has_plain_head(model):
        cached = {
            split: pooled(model, held(split), start.preprocessing, here, 2 * config.batch)
            for split in task.records
        }
        batches = FeatureBatches(make, cached[Split.TRAIN])

        def batch_terms(batch: dict[str, Any], carry: Any) -> tuple[dict[str, Tensor], Any]:
            return feature_terms(model, batch), carry

        def predict(split: Split) -> Float[np.ndarray, "records labels"]:
            found = head_logits(model, cached[split].to(here.device))
            return found.detach().float().cpu().numpy().astype(np.float64)

    def evaluate(step: int) -> dict[str, float]:
        return {"val_auroc": mean_auroc(predict(Split.VAL), task.truth[Split.VAL])}

    def trained_weights() -> dict[str, Tensor]:
        return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    validated = Split.VAL in task.records
    optimizer = build_optimizer(
        model, OptimConfig(config.optimizer, config.lr, config.weight_decay, config.layer_decay)
    )
    scores = fit(
        {"model": model},
        [Phase("train", optimizer, batch_terms)],
        batches,
        run=run,
        config=FitConfig(
            steps=steps,
            seed=config.seed,
            clip=1.0,
            workers=config.workers,
            log_every=max(1, steps // 100),
            evaluate_every=max(1, steps // config.evaluations),
            save_every=max(1, min(500, steps // 2)),
        ),
        compute=here,
        schedule=lambda step: warmup_cosine(
            step + 1, warmup=config.warmup * steps, total=steps, lr=config.lr
        ),
        evaluate=evaluate if validated else None,
        best=Best(
            "val_auroc",
            trained_weights,
            lambda state: model.load_state_dict(state, strict=False),
        )
        if validated
        else None,
    )
    if not here.is_main:
        return
    model.eval()
    with torch.no_grad():
        found: dict[Split, Float[np.ndarray, "records labels"]] = {
            split: predict(split) for split in task.records if split is not Split.TRAIN
        }
    _write_predictions(run.path, task, found)
    info = {
        "labels": list(task.labels),
        "stored": {name: train.stores[0].info[name] for name in ("size", "fit", "bits")},
        "licences": run.config["licences"],
    }
    save_tuned(run.model, model, config.tuner, start.config, start.preprocessing, info)
    run.finish(
        {
            "best": scores,
            "steps": steps,
            "parameters_trained": trained,
            "records": {str(split): len(records) for split, records in task.records.items()},
            "fingerprints": run.config["fingerprints"],
            "licences": run.config["licences"],
        }
    )


def _write_predictions(
    run: Path, task: Task, found: dict[Split, Float[np.ndarray, "records labels"]]
) -> None:
    tables = []
    for split, scores in found.items():
        records = task.records[split]
        columns: dict[str, Any] = {
            "split": [str(split)] * len(records),
            "id": records.ids,
            "patient": records.patients,
        }
        for at, name in enumerate(task.labels):
            columns[f"label:{name}"] = task.truth[split][:, at].astype(np.float64)
            columns[f"logit:{name}"] = scores[:, at]
            columns[f"probability:{name}"] = 1 / (1 + np.exp(-scores[:, at]))
        tables.append(pl.DataFrame(columns))
    if tables:
        with replacing(run / "predictions.parquet") as temporary:
            pl.concat(tables).write_parquet(temporary)


def _score(run: RunFolder, task: Task) -> None:
    """Scores and page of a finished run, made again where they are missing."""
    if (run.path / "report.html").exists():
        return
    evaluation, shown = None, []
    if len(task.records) > 1:
        split: Literal["val", "test"] = "test" if Split.TEST in task.records else "val"
        evaluation = evaluate_run(run.path, EvaluateConfig((run.path,), split=split))
        save_thresholds(run.model, evaluation)
        shown = _mistakes(run.path, task.records[Split(split)], split)
    finetuning_page(run.path, read_metrics(run.path), evaluation, shown, run.config)
    console.print(f"page: {run.path / 'report.html'}")


def _mistakes(run: Path, records: Selection, split: str) -> list[Mistake]:
    place = {name: at for at, name in enumerate(records.ids)}
    found = mistakes(read_predictions(run), SHOWN_MISTAKES, split)
    worst = sorted(
        (one for of_label in found.values() for one in of_label),
        key=lambda one: -abs(one["probability"] - one["truth"]),
    )
    shown = []
    for one in worst[:SHOWN_MISTAKES]:
        image = records.image(place[one["id"]])
        assert image is not None
        grey = image if image.dtype == np.uint8 else (image // 257).astype(np.uint8)
        shown.append(Mistake(grey, one["label"], one["truth"], one["probability"]))
    return shown
