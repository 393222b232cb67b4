"""`radlearn retrieve`: the report of an image and the image of a report, from a pretraining run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from radlearn.engine.device import compute
from radlearn.engine.log import console
from radlearn.errors import InputError, UnreadableError
from radlearn.files import spelled, writable, write_json
from radlearn.metrics.retrieval import Agreement, Recall, agreement, recall
from radlearn.metrics.statistics import bootstrap_patients
from radlearn.metrics.tables import measured, plain_table
from radlearn.pretraining.retrieval import Scorer, make_scorer
from radlearn.pretraining.retrieval_answers import (
    DIRECTIONS,
    Gallery,
    image_answer,
    image_query,
    text_query,
    write_answers,
)
from radlearn.pretraining.retrieval_config import RetrieveConfig
from radlearn.pretraining.retrieval_reader import Reader, open_reader
from radlearn.records.geometry import fitted
from radlearn.records.readers import read_pixels
from radlearn.records.record import Split
from radlearn.records.store import Need, Selection, Store, open_store, select
from radlearn.report.retrieval import Answer, Query, query_page, retrieval_page

SHOWN = 6
NONE = "none of the labels"


def retrieve(config: RetrieveConfig) -> None:
    """Answer one query, or score every query of a split.

    Raises:
        InputError: the run, the store or a setting does not fit; the message says which.
    """
    store = open_store(config.store)
    reader = open_reader(config.run, compute(config.device, config.precision))
    writable(config.out)
    if config.text is not None:
        answer_text(config, config.text, reader, store)
    elif config.image is not None:
        answer_image(config, config.image, reader, store)
    else:
        score_split(config, reader, store)


def score_split(config: RetrieveConfig, reader: Reader, store: Store) -> dict[str, Any]:
    """Every record of the split a query both ways; writes results.json, answers.parquet, a page.

    Raises:
        InputError: the split has no two different reports with images, or there are no training
            pairs of other patients.
    """
    gallery = Gallery.of(_chosen(config, store, {"image", "report"}))
    records, which = gallery.records, gallery.which
    if len(gallery.texts) < 2:
        raise InputError(f"all {len(records)} reports say the same; there is nothing to find")
    scorer = _scorer(config, reader, store, records)
    features = reader.features(records.image, len(records), config.batch)
    _tell_cost(config, len(records), len(gallery.texts))
    scores = scorer(features, gallery.texts)
    resamples = bootstrap_patients(records.patients, config.resamples, config.seed)
    right = which[:, None] == np.arange(len(gallery.texts))
    found = dict(
        zip(
            DIRECTIONS,
            (recall(scores, right, resamples), recall(scores.T[which], right.T[which], resamples)),
            strict=True,
        )
    )
    names, labels = _labels(records, store)
    of_records = scores[:, which]
    alike = {
        direction: agreement(one, labels, names, resamples)
        for direction, one in zip(DIRECTIONS, (of_records, of_records.T), strict=True)
    }
    seen = _seen(reader, records)
    results = {
        "run": config.run.resolve().name,
        "store": store.path.name,
        "split": config.split,
        "score": config.score,
        "nearest": config.nearest,
        "records": len(records),
        "patients": resamples.patients,
        "texts": len(gallery.texts),
        "pairs": scorer.space.pairs if scorer.space else None,
        "ridge": scorer.space.ridge if scorer.space else None,
        "seen_in_pretraining": seen,
        "fingerprint": records.fingerprint(),
        "seed": config.seed,
        "resamples": config.resamples,
        "recall": {name: _recall_json(one) for name, one in found.items()},
        "labels": {name: [_label_json(one) for one in rows] for name, rows in alike.items()},
        "licences": records.licences(),
    }
    write_json(config.out / "results.json", results)
    write_answers(config.out / "answers.parquet", gallery, scores, right)
    rng = np.random.default_rng(config.seed)
    shown = rng.permutation(len(records))[:SHOWN].tolist()
    page = retrieval_page(
        config.out / "report.html",
        results,
        [image_query(gallery, scores, right, at, config.top) for at in shown],
        [text_query(gallery, scores, right, at, config.top) for at in shown],
        _command(config),
    )
    print_results(results)
    console.print(f"page: {page}")
    return results


def answer_text(config: RetrieveConfig, text: str, reader: Reader, store: Store) -> None:
    """Show the images that fit the words best.

    Raises:
        InputError: no training report has any of the words, or there are no images.
    """
    records = _chosen(config, store, {"image"})
    scorer = _scorer(config, reader, store, None)
    if scorer.space is not None and not scorer.space.words.known(text):
        raise InputError(f"no training report has any word of {text!r}; say it in other words")
    features = reader.features(records.image, len(records), config.batch)
    scores = scorer(features, [text])[:, 0]
    best = np.argsort(-scores, kind="stable")[: config.top]
    answers = [image_answer(records, int(at), float(scores[at])) for at in best]
    for number, (at, answer) in enumerate(zip(best, answers, strict=True), 1):
        place = records.column("source")[at] or "–"
        print(f"{number}  {answer.score:+.3f}  {answer.name}  {place}")
    _show(config, Query("Words", text), answers, len(records), "images")


def answer_image(config: RetrieveConfig, image: Path, reader: Reader, store: Store) -> None:
    """Show the reports that fit the picture best.

    Raises:
        InputError: the file is no picture, or the store has no reports.
    """
    try:
        values = read_pixels(image).values
    except UnreadableError as error:
        raise InputError(f"cannot read --image {image}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"there is no --image {image}; check the path") from error
    stored: dict[str, Any] = {
        "size": store.size or 2 * reader.preprocessing.size,
        "fit": store.info.get("fit") or "pad",
        "bits": store.info.get("bits") or 8,
    }
    pixels = fitted(values, **stored)
    gallery = Gallery.of(_chosen(config, store, {"report"}))
    scorer = _scorer(config, reader, store, None)
    scores = scorer(reader.features(lambda _: pixels, 1), gallery.texts)[0]
    best = np.argsort(-scores, kind="stable")[: config.top]
    ids = gallery.records.ids
    answers = []
    for number, at in enumerate(best, 1):
        name = ids[int(np.flatnonzero(gallery.which == at)[0])]
        answers.append(Answer(name, float(scores[at]), gallery.texts[at]))
        print(f"{number}  {scores[at]:+.3f}  {name}  {gallery.texts[at]}")
    _show(config, Query(image.name, picture=pixels), answers, len(gallery.texts), "reports")


def _show(
    config: RetrieveConfig, query: Query, answers: Sequence[Answer], among: int, what: str
) -> None:
    page = query_page(
        config.out / "query.html", query, answers, f"{among:,} {what}", _command(config)
    )
    console.print(f"page: {page}")


def _chosen(config: RetrieveConfig, store: Store, needs: set[Need]) -> Selection:
    split = None if config.split == "all" else Split(config.split)
    records = select([store], split=split, view=config.view, needs=needs)
    return records.take(np.arange(min(len(records), config.records or len(records))))


def _scorer(
    config: RetrieveConfig, reader: Reader, store: Store, scored: Selection | None
) -> Scorer:
    """What ranks, learnt from training pairs of patients that are not `scored`."""
    stores = [open_store(path) for path in config.pairs] or [store]
    pairs = select(stores, split=Split.TRAIN, view=config.view, needs={"image", "report"})
    if scored is not None:
        shared = set(pairs.shared_with(scored))
        pairs = pairs.take([at for at, name in enumerate(pairs.ids) if name not in shared])
        if not len(pairs):
            raise InputError(
                f"every training pair is of a patient in the split {config.split}; score another "
                "split, or give other stores with --pairs"
            )
    scorer = make_scorer(reader, pairs, config.score, config.nearest, config.batch)
    if scorer.space is not None:
        console.print(
            f"space of {scorer.space.pairs:,} training pairs, ridge {scorer.space.ridge:g}"
        )
    return scorer


def _seen(reader: Reader, records: Selection) -> int | None:
    """How many records are of patients that the run was trained on; None if nobody can tell."""
    try:
        stores = [open_store(Path(path)) for path in reader.config["stores"]]
        train = select(stores, split=Split.TRAIN, view=reader.config["view"])
    except InputError:
        return None
    return len(records.shared_with(train))


def _tell_cost(config: RetrieveConfig, images: int, texts: int) -> None:
    if config.score == "space":
        return
    most = images * texts
    pairs = min(most, config.nearest * (images + texts)) if config.nearest else most
    console.print(
        f"likelihood of {'at most ' if config.nearest else ''}{pairs:,} pairs ({images:,} images, "
        f"{texts:,} reports): two passes of the report decoder each"
    )


def _labels(records: Selection, store: Store) -> tuple[list[str], Float[np.ndarray, "records _"]]:
    """The store's labels, and whether a record has none of them."""
    names = list(store.label_names)
    if not names:
        return [], np.zeros((len(records), 0))
    values = records.labels(names, "ignore").astype(np.float64)
    none = np.where(np.isnan(values).any(axis=1), np.nan, 1.0)
    none[(values == 1).any(axis=1)] = 0
    return [*names, NONE], np.column_stack([values, none])


def _recall_json(found: Recall) -> dict[str, Any]:
    return {
        "queries": found.queries,
        "candidates": found.candidates,
        "at": {str(cut): one.as_json() for cut, one in found.at.items()},
        "chance": {str(cut): one for cut, one in found.chance.items()},
        "median": found.median.as_json(),
        "chance_median": found.chance_median,
    }


def _label_json(found: Agreement) -> dict[str, Any]:
    return {
        "label": found.label,
        "queries": found.queries,
        "at": {str(cut): one.as_json() for cut, one in found.at.items()},
        "chance": found.chance,
    }


def _command(config: RetrieveConfig) -> str:
    import shlex

    words = ["radlearn", "retrieve", str(config.run), spelled(config.store)]
    if config.text is not None:
        words += ["--text", config.text]
    if config.image is not None:
        words += ["--image", str(config.image)]
    words += ["--out", str(config.out), "--split", config.split, "--score", config.score]
    words += ["--nearest", str(config.nearest)] if config.nearest else []
    words += ["--pairs", *map(str, config.pairs)] if config.pairs else []
    words += ["--records", str(config.records)] if config.records else []
    words += ["--view", config.view, "--top", str(config.top), "--seed", str(config.seed)]
    return shlex.join(words)


def print_results(results: dict[str, Any]) -> None:
    """Recall beside chance, then agreement of labels, for a terminal of 80 columns."""
    out = Console()
    table = plain_table(
        ("answers looked at", *DIRECTIONS),
        f"{results['run']} on {results['store']}: {results['records']} {results['split']} records "
        f"of {results['patients']} patients, {results['texts']} different reports",
        "right: the record's own, or one that says the same; * no resample differs",
    )
    both = [results["recall"][direction] for direction in DIRECTIONS]
    for cut in both[0]["at"]:
        table.add_row(f"recall at {cut}", *(measured(one["at"][cut]) for one in both))
        table.add_row("  by chance", *(f"{one['chance'][cut]:.3f}" for one in both))
    table.add_row("median place", *(measured(one["median"], ".0f") for one in both))
    table.add_row("  by chance", *(str(one["chance_median"]) for one in both))
    out.print(table)
