"""`radlearn translate`: a store of pairs in; a generator, its scores and its page out."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Int64
from safetensors.torch import save_file
from torch import nn

from radlearn.engine.average import averaged
from radlearn.engine.device import Compute, compute
from radlearn.engine.folder import RunFolder, settings
from radlearn.engine.log import console, read_metrics
from radlearn.engine.loop import FitConfig, fit, seed_step
from radlearn.engine.processes import main_first
from radlearn.errors import InputError
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import replacing, write_json
from radlearn.records.pair_store import PairStore, open_pairs, rows_of
from radlearn.records.record import Split
from radlearn.records.splits import fingerprint
from radlearn.report.translation import translation_page
from radlearn.translation.batches import TranslationBatches
from radlearn.translation.config import TranslateConfig
from radlearn.translation.evaluate import evaluate_translation
from radlearn.translation.inference import Translator
from radlearn.translation.networks import NetworksConfig, build_networks
from radlearn.translation.scores import save_panels, score_volumes
from radlearn.translation.terms import translating, translation_phases

HELD = (Split.VAL, Split.TEST)


class Task(NamedTuple):
    """What is to be learned from which pairs; a split without pairs is absent."""

    stores: tuple[PairStore, ...]
    rows: dict[Split, list[tuple[int, int]]]

    def fingerprint(self, split: Split) -> str:
        return fingerprint([self.stores[s].rows["id"][row] for s, row in self.rows[split]])


def translate(config: TranslateConfig) -> None:
    """Train, score the pairs held apart as training goes on, and write the page.

    Raises:
        InputError: a store or a setting does not fit; the message says which.
    """
    task = _task(config)
    here = compute(config.device, config.precision)
    told = settings(config) | {
        "licences": [one for store in task.stores for one in store.info["sources"]],
        "fingerprints": {str(split): task.fingerprint(split) for split in task.rows},
    }
    run = main_first(here, lambda: RunFolder.begin(config.run, "translation", told, here.is_main))
    try:
        if not run.finished:
            _train(config, run, task, here)
        if here.is_main:
            _show(run, task)
    except InputError:
        run.abandon()
        raise
    finally:
        run.close()


def _task(config: TranslateConfig) -> Task:
    stores = tuple(open_pairs(path) for path in config.stores)
    for name in ("size", "axis", "spacing", "source_names", "target_names"):
        values = [store.info[name] for store in stores]
        if any(value != values[0] for value in values):
            raise InputError(
                f"the stores differ in {name}: {', '.join(map(str, values))}; prepare them alike"
            )
    rows = {
        split: [(at, row) for at, store in enumerate(stores) for row in rows_of(store, split)]
        for split in (Split.TRAIN, *HELD)
    }
    if not rows[Split.TRAIN]:
        raise InputError(
            f"{config.stores[0]} has no training pairs; prepare it with smaller shares"
        )
    unpaired = [
        stores[at].rows["id"][row]
        for at, row in rows[Split.TRAIN]
        if not (stores[at].has_source(row) and stores[at].has_target(row))
    ]
    if unpaired and not config.unpaired:
        raise InputError(
            f"{len(unpaired)} training records, such as {unpaired[0]}, have no partner; give "
            "--unpaired True with a mode that needs no pairs (nc, c)"
        )
    for split in HELD:
        rows[split] = [
            (at, row)
            for at, row in rows[split]
            if stores[at].has_source(row) and stores[at].has_target(row)
        ]
    return Task(stores, {split: found for split, found in rows.items() if found})


def _places(task: Task, config: TranslateConfig, side: str) -> Int64[np.ndarray, "places 3"]:
    """Every slice, or as many patches of every volume as an epoch has."""
    found = []
    for at, row in task.rows[Split.TRAIN]:
        store = task.stores[at]
        if not (store.has_source(row) if side == "source" else store.has_target(row)):
            continue
        parts = store.slices(row) if config.dims == 2 else range(config.patches)
        found += [(at, row, part) for part in parts]
    if not found:
        raise InputError(f"no training pair has a {side}; prepare the store with some")
    return np.array(found, np.int64)


def _train(config: TranslateConfig, run: RunFolder, task: Task, here: Compute) -> None:
    mode, patch = config.trained_mode(), config.patch if config.dims == 3 else None
    store = task.stores[0]
    made = NetworksConfig(
        config.host,
        config.size,
        len(store.info["source_names"]),
        len(store.info["target_names"]),
        config.dims,
        min(patch or store.info["size"]),
    )
    seed_step(config.seed, 0)
    nets = build_networks(mode, made)
    for net in nets.values():
        net.to(here.device)
    phases = translation_phases(nets, mode, made.generator, lr=config.lr, here=here)
    answer = translating(nets, made.generator)
    average = averaged(answer, config.average) if config.average else None
    sources, targets = (_places(task, config, side) for side in ("source", "target"))
    steps = config.steps or math.ceil(config.epochs * len(sources) / config.batch)
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    console.print(
        f"{len(sources):,} training {'slices' if patch is None else 'patches'}; "
        f"{', '.join(f'{name} {count:,}' for name, count in parameters.items())} parameters; "
        f"{steps:,} steps on {here.device} in {'bfloat16' if here.bfloat16 else 'float32'}"
    )
    about = _about(config, made, store, patch)
    translator = Translator(
        about, average.module if average else answer, nets.get("R"), patch, here
    )
    held = {split: task.rows[split] for split in HELD if split in task.rows}
    clock = _Clock()

    def evaluate(step: int) -> dict[str, float]:
        with clock.stopped():
            found = score_volumes(task.stores, held, translator, step)
            if here.is_main:
                with replacing(run.state / f"scores-{step:08d}.parquet") as temporary:
                    found.write_parquet(temporary)
        split = next(iter(held))
        mine = found.filter(pl.col("split") == str(split))
        return {
            f"{split}_{name}": float(np.nanmean(mine[name].to_numpy()))
            for name in ("paper_psnr", "paper_ssim", "paper_nmae")
        }

    def after() -> None:
        if average is not None:
            average.update_parameters(answer)
        clock.tick()

    scores = fit(
        nets | ({"average": average} if average is not None else {}),
        phases,
        TranslationBatches(
            task.stores,
            sources,
            targets,
            config.unpaired,
            patch,
            config.misalignment(),
            config.batch,
            config.seed,
            here.rank,
            here.world,
        ),
        run=run,
        config=FitConfig(
            steps=steps,
            seed=config.seed,
            workers=config.workers,
            on_fault=config.on_fault,
            log_every=max(1, steps // 100),
            evaluate_every=max(1, steps // config.evaluations),
            save_every=max(1, min(500, steps // 2)),
        ),
        compute=here,
        schedule=lambda step: config.lr,
        evaluate=evaluate if held else None,
        after=after,
    )
    if not here.is_main:
        return
    _save(run.model, about, translator)
    if held:
        _gather(run, steps)
        save_panels(run.path / "panels", task.stores, held, translator)
    run.finish(
        {
            "best": scores,
            "steps": steps,
            "seconds_per_step": clock.median(),
            "parameters": parameters,
            "records": {str(split): len(rows) for split, rows in task.rows.items()},
            "fingerprints": run.config["fingerprints"],
            "licences": run.config["licences"],
        }
    )


class _Clock:
    """Seconds a step, evaluations left out; the median does not mind what else the machine did."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._last: float | None = None

    def tick(self) -> None:
        now = time.monotonic()
        if self._last is not None:
            self._seconds.append(now - self._last)
        self._last = now

    @contextmanager
    def stopped(self) -> Iterator[None]:
        yield
        self._last = None

    def median(self) -> float | None:
        return float(np.median(self._seconds)) if self._seconds else None


def _about(
    config: TranslateConfig, made: NetworksConfig, store: PairStore, patch: tuple[int, ...] | None
) -> dict[str, Any]:
    kept = ("axis", "size", "spacing", "source_names", "target_names", "target_windows")
    return {
        "networks": asdict(made),
        "mode": config.mode,
        "patch": list(patch) if patch else None,
        **{name: store.info[name] for name in kept},
        "percentile": store.info["percentile"],
    }


def _save(folder: Path, about: dict[str, Any], translator: Translator) -> None:
    def write(name: str, net: nn.Module) -> None:
        state = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
        with replacing(folder / name) as temporary:
            save_file(state, temporary)

    write("model.safetensors", translator.generator)
    if translator.registration is not None:
        write("registration.safetensors", translator.registration)
    write_json(folder / "config.json", about)


def _gather(run: RunFolder, steps: int) -> None:
    """The scores of every evaluation as one table."""
    parts = sorted(run.state.glob("scores-*.parquet"))
    table = pl.concat([pl.read_parquet(part, glob=False) for part in parts])
    with replacing(run.path / "predictions.parquet") as temporary:
        table.filter(pl.col("step") <= steps).write_parquet(temporary)


def _show(run: RunFolder, task: Task) -> None:
    """Scores and page of a finished run, made again where they are missing."""
    if (run.path / "report.html").exists():
        return
    evaluation = None
    if held := [split for split in HELD if split in task.rows]:
        split: Literal["val", "test"] = "test" if Split.TEST in held else "val"
        evaluation = evaluate_translation(run.path, EvaluateConfig((run.path,), split=split))
    translation_page(run.path, read_metrics(run.path), evaluation, run.config)
    console.print(f"page: {run.path / 'report.html'}")
