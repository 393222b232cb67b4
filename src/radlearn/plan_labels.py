"""`radlearn plan-labels`: what score more labels would give, from runs on fewer of them."""

import shlex
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from radlearn.engine.folder import FREE
from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.evaluate import kind_of
from radlearn.evaluation.settings import EvaluateConfig, PlanConfig
from radlearn.files import read_json, write_json
from radlearn.metrics.finished import finished_results, names_of, one_fingerprint
from radlearn.metrics.learning_curve import FEWEST_AMOUNTS, Runs, back_test, fit_curve
from radlearn.metrics.learning_curve_facts import facts_of
from radlearn.metrics.learning_curve_tables import print_plan
from radlearn.metrics.measured import MEAN, Measured
from radlearn.metrics.statistics import bootstrap_patients, everything_once
from radlearn.report.learning_curve import plan_page

MAY_DIFFER = {
    *FREE, "fraction", "seed", "steps", "epochs", "evaluations", "lr", "warmup", "batch",
    "stores", "fingerprints", "licences",
}  # fmt: skip
"""Settings that runs on one curve need not share: the labels, the seed, and how long to train."""


FEW = 30
"""With fewer scored patients the plan warns that its intervals are too narrow."""
LEAST = 10
"""Positives, and negatives, that a label needs among the scored records to count in the mean."""


def plan_labels(config: PlanConfig) -> None:
    """Print the plan; write and draw it where asked.

    Raises:
        InputError: see `plan`; or a file cannot be written.
    """
    found = plan(config)
    print_plan(found)
    if config.out is not None:
        write_json(config.out, found)
        words = ["radlearn", "plan-labels", *map(str, config.runs), "--times"]
        words += [f"{times:g}" for times in sorted(set(config.times))]
        words += ["--label", config.label] if config.label is not None else []
        words += ["--split", config.split, "--resamples", str(config.resamples)]
        words += ["--seed", str(config.seed), "--out", str(config.out)]
        page = plan_page(
            config.out.with_suffix(".html"),
            found,
            dict(zip(names_of(config.runs), config.runs, strict=True)),
            shlex.join(words),
        )
        console.print(f"page: {page}")


def plan(config: PlanConfig) -> dict[str, Any]:
    """The curve of the runs, what it foretells, and how far to trust it.

    Returns:
        What is written; see `learning_curve_facts.facts_of`.

    Raises:
        InputError: runs of other tasks, splits or settings, runs that are not finished, fewer than
            three amounts of labels, or no such label.
    """
    if not config.runs:
        raise InputError("no run was given; make some with: radlearn finetune --fraction")
    _, kind = kind_of(config.runs)
    if kind.measured is None:
        raise InputError(f"{config.runs[0]} is not of a task whose labels can be planned")
    labels = [_labels(run) for run in config.runs]
    refuse_unless_alike(config.runs, labels)
    fingerprint = one_fingerprint(config.runs, config.split)
    asked = EvaluateConfig(config.runs, split=config.split)
    measured = [kind.measured(run, asked) for run in config.runs]
    runs, columns = _runs(config, labels, measured)
    fitted = fit_curve(runs, config.seed)
    sign = 1 if measured[0].higher else -1
    facts = facts_of(runs, fitted, back_test(runs, config.seed), config.times, sign)
    if (patients := len(set(measured[0].patients))) < FEW:
        facts["notes"].append(
            f"only {patients} patients are scored, too few for an interval to hold what it says"
        )
    return {
        "format": 1,
        "metric": measured[0].metric,
        "higher": measured[0].higher,
        "label": config.label or (MEAN if len(columns) > 1 else columns[0]),
        "mean_of": columns,
        "fingerprint": fingerprint,
        "records": len(measured[0].ids),
        "patients": patients,
        "config": {"split": config.split, "resamples": config.resamples, "seed": config.seed},
        "runs": [
            {"run": name, "labels": int(n), "seed": _config(run).get("seed"), "score": sign * score}
            for name, run, n, score in zip(
                names_of(config.runs), config.runs, labels, runs.score.tolist(), strict=True
            )
        ],
    } | facts


def refuse_unless_alike(runs: Sequence[Path], labels: Sequence[int]) -> None:
    """Raise `InputError` unless the runs lie on one curve, and at three places or more of it."""
    configs = [_config(run) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        for name in sorted((configs[0].keys() | config.keys()) - MAY_DIFFER):
            if configs[0].get(name) != config.get(name):
                raise InputError(
                    f"{runs[0]} was made with {name} = {configs[0].get(name)!r} and {run} with "
                    f"{config.get(name)!r}; a learning curve is of runs that differ in --fraction "
                    "and --seed alone"
                )
    amounts = sorted(set(labels))
    if len(amounts) < FEWEST_AMOUNTS:
        told = " and ".join(f"{amount:,}" for amount in amounts)
        raise InputError(
            f"a learning curve needs {FEWEST_AMOUNTS} different numbers of labels; these "
            f"{len(runs)} runs have {told}: fine-tune on more of them with --fraction"
        )
    twice = Counter(
        (n, config["seed"]) for n, config in zip(labels, configs, strict=True) if "seed" in config
    )
    (amount, seed), count = twice.most_common(1)[0] if twice else ((0, 0), 1)
    if count > 1 or len({run.resolve() for run in runs}) < len(runs):
        raise InputError(
            f"{count} runs have {amount:,} labels and the seed {seed}; give each run once"
        )


def _config(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    return dict(read_json(path, "a run")) if path.exists() else {}


def _labels(run: Path) -> int:
    """How many labelled records a finished run was trained on."""
    count = finished_results(run).get("records", {}).get("train")
    if not isinstance(count, int) or count < 1:
        raise InputError(
            f"{run / 'results.json'} does not say how many records were trained on; fine-tune again"
        )
    return count


def _common(measured: Measured, columns: Sequence[int]) -> list[int]:
    """The labels that are not so rare that their noise would drown the others'."""
    if measured.truth is None:
        return list(columns)
    known = measured.truth[:, list(columns)]
    rarer = np.minimum((known == 1).sum(axis=0), (known == 0).sum(axis=0))
    return [at for at, count in zip(columns, rarer, strict=True) if count >= LEAST]


def _runs(
    config: PlanConfig, labels: Sequence[int], measured: Sequence[Measured]
) -> tuple[Runs, list[str]]:
    """Scores of all runs on the same resamples, higher the better; and the columns averaged."""
    first = measured[0]
    for (run, one), (other, two) in pairwise(zip(config.runs, measured, strict=True)):
        if (one.ids, one.columns) != (two.ids, two.columns):
            raise InputError(
                f"{run} and {other} were scored on other records or labels; score all on the same"
            )
    if config.label is not None and config.label not in first.columns:
        raise InputError(
            f"the runs have no label {config.label!r}; they have: {', '.join(first.columns)}"
        )
    rows = np.arange(len(first.ids))
    reasons = first.reason(rows)
    wanted = [config.label] if config.label is not None else list(first.columns)
    columns = [at for at, name in enumerate(first.columns) if name in wanted and not reasons[at]]
    columns = _common(first, columns) or columns
    if not columns:
        raise InputError(
            f"{wanted[0]} cannot be scored on {config.split}: "
            f"{reasons[first.columns.index(wanted[0])]}"
        )
    once = everything_once(first.patients)
    drawn = bootstrap_patients(first.patients, config.resamples, config.seed)
    points, resampled = (
        np.stack([one.score(rows, which, columns).mean(axis=1) for one in measured], axis=1)
        for which in (once, drawn)
    )
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    if len(resampled) < 2:
        raise InputError("no resample of the patients has both classes; score more patients")
    sign = 1 if first.higher else -1
    low, high = sorted(sign * bound for bound in first.bounds)
    found = Runs(np.array(labels), sign * points[0], sign * resampled, (low, high))
    return found, [first.columns[at] for at in columns]
