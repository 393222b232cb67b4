"""`radlearn evaluate`: what a finished run's predictions are worth, and which run's are better."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from radlearn.engine.log import console
from radlearn.errors import InputError
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import read_json, write_json
from radlearn.metrics.finished import finished_results, names_of
from radlearn.metrics.measured import Measured
from radlearn.report.overview import overview_page
from radlearn.report.page import Section

Evaluation = Mapping[str, Any]
Comparison = Mapping[str, Any]


class Kind(NamedTuple):
    """How finished runs of one kind are scored and compared.

    Attributes:
        score: scores a run, writes its evaluation.json and returns what is in it: "run" (its
            name), "config" (split, resamples, seed), "patients", and the scores.
        show: prints what `score` returned.
        compare: the differences of each two runs on the same records, second less first.
        show_differences: prints what `compare` returned.
        scored: what the runs of a comparison were scored on, in words.
        sections: of the page of runs side by side, from each run's evaluation by name and the
            comparison.
        measured: the run's answers as `--groups` and `radlearn plan-labels` score them; None where
            neither is for the kind.
        refused: settings of `EvaluateConfig` that make no sense for the kind, and what to say then.
        elsewhere: answers for a split of another store; the folder of these answers scores like
            the run. None where the kind has no such thing.
    """

    score: Callable[[Path, EvaluateConfig], Evaluation]
    show: Callable[[Evaluation], None]
    compare: Callable[[Sequence[Path], EvaluateConfig], Comparison]
    show_differences: Callable[[Comparison], None]
    scored: Callable[[Comparison], str]
    sections: Callable[[Mapping[str, Evaluation], Comparison], list[Section]]
    refused: Mapping[str, str]
    measured: Callable[[Path, EvaluateConfig], Measured] | None = None
    elsewhere: Callable[[Path, Path, str], Path] | None = None


KINDS = {
    "translation": "radlearn.translation.evaluate:TRANSLATIONS",
    "multi-label": "radlearn.evaluation.labels:LABELS",
    "single-label": "radlearn.evaluation.targets:CLASSES",
    "ordinal": "radlearn.evaluation.targets:LEVELS",
    "continuous": "radlearn.evaluation.targets:NUMBERS",
    "segmentation": "radlearn.finetuning.evaluate_masks:SEGMENTATIONS",
}
"""Where the `Kind` of each task is: "module:name", imported when a run of it is scored."""


def kind_of(runs: Sequence[Path]) -> tuple[str, Kind]:
    """The kind that all these runs are of, and its name.

    Raises:
        InputError: they are of two kinds, or of one that is not scored.
    """
    names = [_kind_name(run) for run in runs]
    for run, name in zip(runs, names, strict=True):
        if name not in KINDS:
            raise InputError(f"{run} is a run of {name}, which is not scored; fine-tune it first")
        if name != names[0]:
            raise InputError(
                f"{runs[0]} is a run of {names[0]} and {run} one of {name}; evaluate runs of one "
                "kind together"
            )
    module, name = KINDS[names[0]].split(":")
    kind: Kind = getattr(importlib.import_module(module), name)
    return names[0], kind


def _kind_name(run: Path) -> str:
    """The task of a fine-tuned run, else the mission."""
    path = run / "config.json"
    config = read_json(path, "a run") if path.exists() else {}
    mission = config.get("mission", "finetuning")
    return str(config.get("task", "multi-label") if mission == "finetuning" else mission)


def evaluate(config: EvaluateConfig) -> None:
    """Score and print each run, then the differences of each two.

    Raises:
        InputError: no run was given, runs of two kinds, or a setting that their kind does not
            have; see also the `score` and `compare` of the `Kind`.
    """
    if not config.runs:
        raise InputError("no run was given; make one with: radlearn finetune")
    if config.out is not None and len(config.runs) < 2:
        raise InputError("--out is for the differences of runs; give two runs or more")
    name, kind = kind_of(config.runs)
    if config.groups and kind.measured is None:
        raise InputError(f"--groups is not for runs of {name}")
    for field in fields(config):
        if field.name in kind.refused and getattr(config, field.name) != field.default:
            raise InputError(kind.refused[field.name])
    if config.on is not None:
        if kind.elsewhere is None:
            raise InputError(f"--on is not for runs of {name}")
        there = (kind.elsewhere(run, config.on, config.split) for run in config.runs)
        config = replace(config, runs=tuple(there))
    if config.lists and (kind.measured is None or config.split != "test"):
        raise InputError(f"--lists is for the test split, and not for runs of {name}")
    scored = [_scored(run, kind, config) for run in config.runs]
    for run, evaluation in zip(config.runs, scored, strict=True):
        kind.show(evaluation)
        _tell(evaluation)
        if config.groups and kind.measured is not None:
            from radlearn.evaluation.groups import evaluate_groups

            evaluate_groups(run, kind.measured(run, config), evaluation, config)
    if len(config.runs) > 1:
        comparison = kind.compare(config.runs, config)
        kind.show_differences(comparison)
        if config.out is not None:
            write_json(config.out, comparison)
            from radlearn.report.lists import side_by_side

            evaluations = dict(zip(names_of(config.runs), scored, strict=True))
            sections = [*kind.sections(evaluations, comparison), *side_by_side(evaluations)]
            said = {f"{name}: {mark}" for name, one in evaluations.items() for mark in one["marks"]}
            _write_page(config, kind.scored(comparison), sections, sorted(said))


def evaluate_run(run: Path, config: EvaluateConfig) -> dict[str, Any]:
    """Score a finished run of any kind and write `run/evaluation.json`; see its `Kind`."""
    _, kind = kind_of([run])
    return dict(_scored(run, kind, config))


def _scored(run: Path, kind: Kind, config: EvaluateConfig) -> Evaluation:
    """What the kind's score returns, with scores on other lists and what is to be said of them."""
    from radlearn.evaluation.lists import evaluate_lists

    evaluation = dict(kind.score(run, config))
    evaluation["marks"] = list(finished_results(run).get("marks", ()))
    if kind.measured is not None and config.split == "test":
        evaluation["lists"] = evaluate_lists(run, kind.measured(run, config), config)
    write_json(run / "evaluation.json", evaluation)
    return evaluation


def _tell(evaluation: Evaluation) -> None:
    """Print the scores on other lists, and the marks."""
    from radlearn.evaluation.lists import in_words
    from radlearn.report.lists import score_of

    for one in evaluation.get("lists", ()):
        said = f"{one['metric']} {score_of(one)} on {in_words(one)}"
        console.print(f"{evaluation['run']}: {said}", markup=False)
    for mark in evaluation["marks"]:
        console.print(f"{evaluation['run']}: {mark}", markup=False, style="yellow")


def _write_page(
    config: EvaluateConfig, scored: str, sections: Sequence[Section], marks: Sequence[str]
) -> None:
    """The page of runs side by side, beside `config.out`."""
    assert config.out is not None
    overview_page(
        config.out.with_suffix(".html"),
        "Runs side by side",
        {"Scored on": f"{config.split}, {scored}"}
        | ({"To be said of the scores": "\n".join(marks)} if marks else {}),
        sections,
        {
            name: run / "report.html"
            for name, run in zip(names_of(config.runs), config.runs, strict=True)
        },
        command=f"radlearn evaluate {' '.join(map(str, config.runs))} --out {config.out}",
    )
