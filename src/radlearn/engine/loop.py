"""The training loop: a function in sight, for every mission."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from radlearn.engine.device import Compute
from radlearn.engine.faults import (
    Before,
    Floors,
    Watch,
    gradient_norm,
    refuse_collapse,
    refuse_fault,
)
from radlearn.engine.folder import RunFolder
from radlearn.engine.log import Metrics, progress
from radlearn.engine.names import OnFault
from radlearn.engine.processes import main_first, of_all, of_main, said_once, summed
from radlearn.engine.shares import ALONE, Agreed, Tell, agree, objective
from radlearn.engine.state import load_best, load_state, save_state
from radlearn.errors import InputError
from radlearn.files import replacing
from radlearn.records.batches import Batch, batches

Carry = dict[str, Any]
Terms = Callable[[Batch, Carry], tuple[dict[str, Tensor], Carry]]
STEP_STREAM = 0x57E9  # keeps the randomness of steps apart from every other use of the seed


@dataclass(frozen=True)
class Phase:
    """One update: minimise the sum of terms(batch) over what `optimizer` holds.

    The carry hands one phase's results to the next and is saved with the state.

    Attributes:
        floor: sum of its terms below which it has nothing left to learn; 0 where that is no fault.
    """

    name: str
    optimizer: Optimizer
    terms: Terms
    floor: float = 0.0


@dataclass(frozen=True)
class Best:
    """Which evaluation score decides what is kept: the highest."""

    score: str
    weights: Callable[[], dict[str, Tensor]]
    restore: Callable[[Mapping[str, Tensor]], Any]


@dataclass(frozen=True)
class FitConfig:
    """How long and how carefully to train.

    Attributes:
        steps: updates in all.
        seed: of everything random inside a step.
        clip: largest norm of a phase's gradient, None for no limit.
        workers: processes that make batches ahead.
        log_every: steps between rows of metrics.
        evaluate_every: steps between evaluations; the last step is always evaluated.
        save_every: steps between saved states.
        on_fault: whether training stops at an update that is no number or explodes, or leaves that
            update out.
        explodes: how many times the usual norm a gradient may have.
    """

    steps: int
    seed: int = 0
    clip: float | None = None
    workers: int = 0
    log_every: int = 10
    evaluate_every: int = 100
    save_every: int = 500
    on_fault: OnFault = "stop"
    explodes: float = 1e4


@dataclass
class _Window:
    """Terms summed since the last row of metrics."""

    sums: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0

    def share(self, here: Compute) -> None:
        """Make the sums of every process the mean over the processes."""
        if here.world > 1:
            names = sorted(self.sums)
            sums = summed(here, [float(self.sums[name]) for name in names])
            self.sums = {name: total / here.world for name, total in zip(names, sums, strict=True)}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def left_out(self) -> dict[str, float]:
        """How many steps were skipped, where any was."""
        return {"skipped": float(self.skipped)} if self.skipped else {}


@dataclass
class _Stop:
    asked: bool = False


@contextmanager
def _stop_between_steps(patient: bool) -> Iterator[_Stop]:
    """Turn the first Ctrl-C or polite kill into a flag, so that no step is cut in half.

    Args:
        patient: a second one is ignored, not obeyed at once: a launcher sends its own after that
            of the terminal.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        if stop.asked and not patient:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def seed_step(seed: int, step: int) -> None:
    """Make dropout, masking and noise a pure function of (seed, step), the same in every process.

    Steps count from 1; 0 is the start, when weights are drawn.
    """
    words = np.random.SeedSequence((seed, STEP_STREAM, step, 0)).generate_state(2, np.uint32)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


def changing_state(net: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that train, and buffers. The rest is as it was built."""
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    return {name: value for name, value in net.state_dict().items() if name not in frozen}


def _update(
    phase: Phase,
    terms: Terms,
    batch: Batch,
    carry: Carry,
    clip: float | None,
    compute: Compute,
    agreed: Agreed,
    judge: Callable[[Tensor], bool],
) -> tuple[dict[str, Tensor], Carry, bool]:
    phase.optimizer.zero_grad(set_to_none=True)
    with compute.autocast():
        with agreed.draws:
            parts, carry = terms(batch, carry)
        parts = agreed.weighted(parts)
        total = torch.stack([part.float() for part in parts.values()]).sum()
    total.backward()
    held = [p for group in phase.optimizer.param_groups for p in group["params"]]
    norm = gradient_norm(held)
    good = judge(norm)
    if good:
        if clip is not None:
            nn.utils.clip_grads_with_norm_(held, clip, norm)
        phase.optimizer.step()
    return parts, carry, good


def _check_finite(
    values: Mapping[str, float], step: int, ids: Callable[[int], Sequence[str]]
) -> None:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise InputError(
            f"{' and '.join(broken)} stopped being a number by step {step} (records "
            f"{', '.join(ids(step)[:8])}, ...); "
            "the last good state is kept: lower --lr or give --precision float32"
        )


def fit(
    nets: Mapping[str, nn.Module],
    phases: Sequence[Phase],
    make_batch: Callable[[int], Batch],
    *,
    run: RunFolder,
    config: FitConfig,
    compute: Compute,
    schedule: Callable[[int], float],
    evaluate: Callable[[int], dict[str, float]] | None = None,
    best: Best | None = None,
    carry: Carry | None = None,
    after: Callable[[], None] | None = None,
    tell: Tell | None = None,
) -> dict[str, float]:
    """Train `nets` by running every phase on batch 0, 1, ... until `config.steps`.

    A run that was stopped goes on from its last saved state and ends with the same bits.

    Args:
        nets: every network by name, already on the device and as it always starts; the weights
            that train are saved and restored.
        make_batch: batch k from k alone.
        schedule: learning rate at a step; a parameter group's `lr_scale` multiplies it.
        evaluate: scores on validation data; called in evaluation mode without gradients.
        best: keep the weights of the best evaluation and put them back at the end.
        carry: what the first phase of the first step is handed.
        after: called when a step's phases are done; what it changes has to be among `nets`.
        tell: what one of several processes says of its part of a batch, whose "rows" and "whole"
            are then there; None where every term is a mean over records.

    Returns:
        The best evaluation's step and scores, or the last one's where `best` is None.

    Raises:
        InputError: a term is not finite any more, or no saved state can be read.
    """
    with said_once(compute):
        if compute.sharded and len(phases) > 1:
            raise InputError("FSDP is for one large network; launch this without --use_fsdp")
        updates = [objective(nets, phase.terms, phase.optimizer, compute) for phase in phases]
    objectives, shards = [terms for terms, _ in updates], updates[0][1]
    saved = load_state(run.state)
    watch = Watch([phase.name for phase in phases], config.explodes, compute.device)
    floors = Floors({phase.name: phase.floor for phase in phases})
    named: dict[str, list[str]] = {}
    start, carry = 0, carry or {}
    scores: dict[str, float] = {}
    window = _Window()
    if saved is not None:
        start, scores, carry = saved["step"], saved["scores"], saved["carry"]
        window = _Window(**saved["window"])
        watch.load(saved["watch"])
        floors.rows.update(saved["floors"])
        for name, net in nets.items():
            state = saved["nets"][name]
            net.load_state_dict(shards.of(state, net) if shards else state, strict=False)
        for phase in phases:
            state = saved["optimizers"][phase.name]
            phase.optimizer.load_state_dict(shards.of_optimizer(state) if shards else state)
        del saved

    def save(step: int) -> None:
        payload = {
            "nets": {name: changing_state(net) for name, net in nets.items()},
            "optimizers": {phase.name: phase.optimizer.state_dict() for phase in phases},
            "scores": scores,
            "carry": carry,
            "window": vars(window),
            "watch": watch.state(),
            "floors": floors.rows,
        }
        if shards is not None:
            payload = shards.gathered(payload)
        if compute.is_main:
            save_state(run.state, step, payload)

    def ids(step: int) -> list[str]:
        """Of the records of a step, counted from 1, in all processes."""
        mine = list(make_batch(step - 1).get("ids", ()))
        return [name for names in of_all(compute, mine) for name in names]

    best_file = run.state / "best.pt"
    with (
        Metrics(run.path, start, write=compute.is_main) as metrics,
        progress(run.path.name, config.steps, start=start, show=compute.is_main) as ticker,
        _stop_between_steps(patient=compute.world > 1) as stop,
    ):
        made = batches(
            make_batch,
            start,
            config.steps,
            workers=config.workers,
            pin_memory=compute.device.type == "cuda",
        )
        for done, raw in enumerate(made, start=start + 1):
            agreed = agree(compute, raw, tell, stop.asked)
            batch = compute.put(raw)
            seed_step(config.seed, done)
            for net in nets.values():
                net.train()
            rate = schedule(done - 1)
            before = Before(nets, carry) if config.on_fault == "skip" else None
            for phase, terms in zip(phases, objectives, strict=True):
                for group in phase.optimizer.param_groups:
                    group["lr"] = rate * group.get("lr_scale", 1.0)
                judge = watch.judge(phase.name, done, wait=before is not None)
                parts, carry, good = _update(
                    phase, terms, batch, carry, config.clip, compute, agreed, judge
                )
                if before is not None and not good:
                    carry = before.restore()
                    window.skipped += 1
                    break
                window.add(parts)
                named[phase.name] = list(parts)
            if after is not None:
                after()
            last = done == config.steps
            stopping = stop.asked if agreed is ALONE else agreed.stop
            saving = done % config.save_every == 0 or last or stopping
            logging = done % config.log_every == 0 or last
            evaluating = evaluate is not None and (done % config.evaluate_every == 0 or last)
            if saving or logging or evaluating:
                window.share(compute)
                means = window.means()
                with said_once(compute):
                    refuse_fault(watch, window.skipped, config.on_fault, ids, nets)
                    _check_finite(means, done, ids)
                if logging:
                    sums = {
                        name: sum(means[term] for term in of)
                        for name, of in named.items()
                        if means.keys() >= set(of)
                    }
                    with said_once(compute):
                        refuse_collapse(floors, sums, done, config.on_fault)
                    metrics.write(done, {"lr": rate} | means | window.left_out())
                    window = _Window()
            if evaluate is not None and evaluating:
                with nullcontext() if shards is None else shards.whole():
                    found = of_main(compute, _evaluated(nets, evaluate, done))
                metrics.write(done, found)
                if best is None or _better(found[best.score], scores.get(best.score, math.nan)):
                    scores = {"step": done} | found
                    if best is not None:
                        weights = best.weights()
                        if shards is not None:
                            weights = shards.gathered(weights)
                        if compute.is_main:
                            with replacing(best_file) as temporary:
                                torch.save(weights, temporary)
            if saving:
                save(done)
            if stopping:
                raise KeyboardInterrupt
            ticker.advance(text=_brief(scores))
    if shards is not None:
        shards.undo()
    main_first(compute, lambda: None)  # its files are written then
    if best is not None and best_file.exists():
        best.restore(load_best(best_file, compute.device))
    return scores


def _better(found: float, before: float) -> bool:
    return not math.isnan(found) and (math.isnan(before) or found > before)


def _brief(scores: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in scores.items() if name != "step")


def _evaluated(
    nets: Mapping[str, nn.Module], evaluate: Callable[[int], dict[str, float]], step: int
) -> dict[str, float]:
    for net in nets.values():
        net.eval()
    with torch.no_grad():
        return evaluate(step)
