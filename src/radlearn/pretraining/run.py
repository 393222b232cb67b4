"""`radlearn pretrain`: stores in, a backbone out."""

import math
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from safetensors.torch import save_file
from tokenizers import Tokenizer

from radlearn.engine.device import Compute, compute
from radlearn.engine.folder import RunFolder, settings
from radlearn.engine.log import console, read_metrics
from radlearn.engine.loop import FitConfig, Phase, fit, seed_step
from radlearn.engine.optim import OptimConfig, build_optimizer
from radlearn.engine.processes import main_first, spread
from radlearn.engine.schedule import warmup_cosine
from radlearn.errors import InputError
from radlearn.files import replacing
from radlearn.models.backbone import BackboneConfig
from radlearn.models.imported import LEARNT_FROM, MRM_PREPROCESSING
from radlearn.models.lineage import Sources, united
from radlearn.models.model_folders import save_model
from radlearn.models.mrm import MRM, SIZES, MRMConfig, sized_for
from radlearn.models.starting import start_from
from radlearn.models.weights import backbone_state, fingerprint
from radlearn.pretraining.batches import PretrainBatches
from radlearn.pretraining.config import PretrainConfig
from radlearn.pretraining.examples import examples
from radlearn.pretraining.terms import Objective, pretraining_terms, told_of
from radlearn.records.record import Split
from radlearn.records.reports import continuation_pieces, load_tokenizer, train_wordpiece
from radlearn.records.store import Need, Selection, Store, open_store, select
from radlearn.records.transforms import Preprocessing
from radlearn.report.pretraining import pretraining_page

VALIDATED = 256  # records that a validation during training looks at
EVALUATIONS = 20


def pretrain(config: PretrainConfig) -> None:
    """Train by masked record modeling and write the backbone to run/model.

    Raises:
        InputError: a store, a checkpoint or a setting does not fit; the message says which.
    """
    stores = [open_store(path) for path in config.stores]
    train = _records(stores, config, Split.TRAIN)
    val = _validation(stores, config)
    here = compute(config.device, config.precision)
    told = settings(config) | {
        "licences": train.licences(),
        "fingerprints": {"train": train.fingerprint()},
    }
    run = main_first(here, lambda: RunFolder.begin(config.run, "pretraining", told, here.is_main))
    try:
        if run.finished:
            console.print(f"{config.run} is finished; its page: {config.run / 'report.html'}")
            return
        _train(config, run, train, val, here)
    except InputError:
        run.abandon()
        raise
    finally:
        run.close()


def _records(stores: list[Store], config: PretrainConfig, split: Split) -> Selection:
    needs: dict[str, frozenset[Need]] = {
        "mrm": frozenset(),
        "image": frozenset({"image"}),
        "report": frozenset({"report"}),
    }
    return select(stores, split=split, view=config.view, needs=needs[config.objective])


def _validation(stores: list[Store], config: PretrainConfig) -> Selection | None:
    try:
        found = _records(stores, config, Split.VAL)
    except InputError:
        return None
    pick = np.random.default_rng(0).permutation(len(found))[:VALIDATED]
    return found.take(np.sort(pick))


def _tokenizer(config: PretrainConfig, run: RunFolder, train: Selection) -> Tokenizer | None:
    if config.objective == "image":
        return None
    if config.tokenizer is not None:
        return load_tokenizer(config.tokenizer)
    reports = [train.report(int(at)) for at in np.flatnonzero(train.has_report)]
    if not reports:
        raise InputError(
            "the stores have no report to learn from; give --objective image, or add a store "
            "with reports"
        )
    place = run.model / "tokenizer.json"
    if not place.exists():
        train_wordpiece([text for text in reports if text], config.words, place)
    return load_tokenizer(place)


def model_config(config: PretrainConfig, words: int) -> MRMConfig:
    """The networks that the settings ask for."""
    size = SIZES.get(config.model) or sized_for(BackboneConfig(config.model))
    target = config.target_size or 2 * config.image_size
    if target % config.image_size:
        raise InputError(
            f"--target-size {target} is not a whole multiple of --image-size {config.image_size}"
        )
    shape = {"img_size": config.image_size, "patch_size": config.patch}
    backbone = replace(size.backbone, model_args={**size.backbone.model_args, **shape})
    assert size.image_decoder is not None and size.report_decoder is not None
    return MRMConfig(
        backbone,
        None
        if config.objective == "report"
        else replace(size.image_decoder, scale=target // config.image_size),
        None if config.objective == "image" else replace(size.report_decoder, words=words),
    )


def _train(
    config: PretrainConfig, run: RunFolder, train: Selection, val: Selection | None, here: Compute
) -> None:
    tokenizer = main_first(here, lambda: _tokenizer(config, run, train))
    words = tokenizer.get_vocab_size() if tokenizer else 0
    seed_step(config.seed, 0)
    networks = model_config(config, words)
    model = MRM(networks)
    preprocessing = replace(MRM_PREPROCESSING, size=config.image_size)
    seen = train.licences()
    if config.init is not None:
        started = start_from(config.init, model)
        console.print(started.summary)
        seen = united(started.learnt_from, seen)
        preprocessing = replace(started.preprocessing or preprocessing, size=config.image_size)
    model.to(here.device)

    make = PretrainBatches(
        records=train,
        target=model.target_size,
        patches=model.patch_count,
        tokenizer=tokenizer,
        continuation=continuation_pieces(tokenizer) if tokenizer else None,
        length=networks.report_decoder.positions if networks.report_decoder else 0,
        batch=config.batch,
        seed=config.seed,
        rank=here.rank,
        world=here.world,
    )
    objective = Objective(preprocessing, config.mask_ratio, report_loss=config.report_loss)
    steps = math.ceil(config.epochs * len(train) / config.batch)
    rate = config.lr * config.batch / 256
    optimizer = build_optimizer(
        model, OptimConfig("adamw", rate, config.weight_decay, betas=(0.9, 0.95))
    )
    _say(train, steps, here)

    def schedule(step: int) -> float:
        return warmup_cosine(
            step + 1, warmup=config.warmup * steps, total=steps, lr=rate, floor=0.0
        )

    def evaluate(step: int) -> dict[str, float]:
        assert val is not None
        return _validate(model, replace(make, records=val, augment=False), objective, here)

    fit(
        {"model": model},
        [Phase("train", optimizer, lambda b, c: (pretraining_terms(model, b, objective), c))],
        make,
        run=run,
        config=FitConfig(
            steps=steps,
            seed=config.seed,
            workers=config.workers,
            on_fault=config.on_fault,
            log_every=max(1, steps // 200),
            evaluate_every=max(1, steps // EVALUATIONS),
            save_every=max(1, min(500, steps // 10)),
        ),
        compute=here,
        schedule=schedule,
        evaluate=evaluate if val is not None else None,
        tell=lambda batch: told_of(batch, objective),
    )
    if here.is_main:
        shown = val if val is not None else train
        _write(run, model, preprocessing, train, seen)
        pictures = examples(model, replace(make, records=shown, augment=False), objective, here)
        pictures = replace(pictures, held_out=val is not None)
        before = [one for one in seen if one not in run.config["licences"]]
        told = run.config | {LEARNT_FROM: before}
        pretraining_page(run.path, read_metrics(run.path), pictures, told)
        console.print(f"page: {run.path / 'report.html'}")


def _say(train: Selection, steps: int, here: Compute) -> None:
    kinds = Counter(zip(train.has_image.tolist(), train.has_report.tolist(), strict=True))
    console.print(
        f"{kinds[True, True]:,} records with image and report, {kinds[True, False]:,} with image "
        f"alone, {kinds[False, True]:,} with report alone; {steps:,} steps on {here.device} in "
        f"{'bfloat16' if here.bfloat16 else 'float32'}"
    )


def _validate(
    model: MRM, make: PretrainBatches, objective: Objective, here: Compute
) -> dict[str, float]:
    """Means of the terms over the held-out records, their masks the same at every step."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()

    def scored(start: int) -> tuple[int, dict[str, float]]:
        positions = np.arange(start, min(start + make.batch, len(make.records)))
        batch = here.put(make.of(positions, step=0))
        with here.autocast():
            terms = pretraining_terms(model, batch, objective)
        return len(positions), {name: float(value) for name, value in terms.items()}

    for count, terms in spread(here, range(0, len(make.records), make.batch), scored):
        for name, value in terms.items():
            sums[f"val_{name}"] += value * count
            counts[f"val_{name}"] += count
    return {name: sums[name] / counts[name] for name in sums}


def _write(
    run: RunFolder,
    model: MRM,
    preprocessing: Preprocessing,
    train: Selection,
    seen: Sources,
) -> None:
    extra = {
        "kind": "mrm",
        "networks": asdict(model.config),
        "licences": train.licences(),
        LEARNT_FROM: seen,
        "fingerprint": fingerprint(backbone_state(model.encoder)),
    }
    save_model(run.model, model.encoder, model.config.backbone, preprocessing, extra)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(run.model / "mrm.safetensors") as path:
        save_file(state, path)
    last: dict[str, Any] = {}
    for row in read_metrics(run.path):
        last |= row
    told = {name: extra[name] for name in ("licences", LEARNT_FROM)}
    run.finish({"final": last, "backbone": extra["fingerprint"], **told})
