"""The pages: whole without a network, true to their numbers, safe with any text."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest

from radlearn.evaluate import evaluate_run
from radlearn.evaluation.labels import compare_labels
from radlearn.evaluation.settings import EvaluateConfig
from radlearn.files import write_json
from radlearn.report import page
from radlearn.report.comparison import differences, side_by_side
from radlearn.report.facts import command
from radlearn.report.figures import Score, curves
from radlearn.report.finetuning import Mistake, finetuning_page
from radlearn.report.overview import grid_sections, overview_page
from radlearn.report.page import Section, Table, Word
from radlearn.report.palette import styles
from radlearn.report.pictures import encode, saliency_overlay
from radlearn.report.pretraining import Examples, pretraining_page, report_words

HOSTILE = "<script src='http://evil.example/x.js'>alert(1)</script>\"'&$\\frac{x{{7*7}}<img src=x>"
METRICS: list[dict[str, Any]] = [
    *(
        {"step": s, "lr": 1e-3, "loss": 2 + 1 / s, "image": 1 / s, "report": 2}
        for s in range(1, 200)
    ),
    {"step": 200, "lr": None, "loss": None},
    {"step": 200, "val_auroc": 0.7654},
]
CONFIG = {
    "radlearn": "0.1.0",
    "seed": 5,
    "mission": "finetuning",
    "stores": ["stores/a b"],
    "tuner": "lora",
    "augment": False,
    "init": None,
    "labels": ["Edema", "Effusion"],
    "licences": [{"name": "NIH", "licence": "free use", "terms": "acknowledge the NIH"}],
    "fingerprints": {"test": "ab12cd"},
    "backbone": {"depth": 12},
}


class Read(HTMLParser):
    """The tags, the addresses that a browser would load or follow, the text and the alt texts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.alts: list[str | None] = []
        self.text = ""
        self.handlers: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action", "poster"):
                self.sources.append(value or "")
            if name == "href":
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag == "img":
            self.alts.append(dict(attrs).get("alt"))

    def handle_data(self, data: str) -> None:
        self.text += data


def interval(value: float | None, half: float = 0.05) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "degenerate": half == 0}


def evaluation(*names: str) -> dict[str, Any]:
    """As `evaluate_run` gives it; the last label has one class only."""
    point = {"rule": "youden", "threshold": 0.4321, "reason": None} | {
        key: interval(0.61) for key in ("sensitivity", "specificity", "ppv", "npv")
    }
    curve = {
        "roc": {"fpr": [0, 0.2, 1], "tpr": [0, 0.8, 1]},
        "precision_recall": {"recall": [0.2, 1], "precision": [1, 0.3]},
        "reliability": {"predicted": [0.1, 0.7], "observed": [0.2, 0.6], "count": [10, 30]},
    }
    labels = {
        name: {
            "records": 40, "patients": 30, "positives": 12, "auroc": interval(0.8123),
            "average_precision": interval(0.5432), "reason": None, "brier": interval(0.123, 0),
            "ece": 0.0456, "operating_point": point,
        }
        for name in names
    }  # fmt: skip
    reason = "one class only: all 40 labelled records are negative"
    nothing = interval(None)
    labels[names[-1]] |= {"auroc": nothing, "average_precision": nothing, "reason": reason}
    labels[names[-1]]["operating_point"] = {"rule": "youden", "threshold": None, "reason": reason}
    return {
        "config": {"split": "test"}, "records": 40, "patients": 30, "fingerprint": "ab12cd",
        "labels": labels,
        "mean": {
            "labels": list(names[:-1]), "auroc": interval(0.8001),
            "average_precision": interval(0.5),
        },
        "curves": dict.fromkeys(names[:-1], curve)
        | {names[-1]: {"reliability": curve["reliability"]}},
    }  # fmt: skip


def examples(reports: tuple[tuple[Word, ...], ...] = ()) -> Examples:
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32), dtype=np.uint8)
    return Examples(images, images, images, reports)


def mistakes(record: str | None = None) -> list[Mistake]:
    image = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    return [
        Mistake(image, "Edema", 0, 0.97, saliency_overlay(image, image / 255.0), record),
        Mistake(image, "Edema", 1, 0.02),
    ]


def decoded(source: str) -> tuple[str, bytes]:
    found = re.fullmatch(r"data:(image/[a-z+]+);base64,([A-Za-z0-9+/=]+)", source)
    assert found, source[:80]
    return found[1], base64.b64decode(found[2])


def check_stands_alone(path: Path) -> Read:
    """No script, nothing loaded, every picture decodes, has a text and fits."""
    read = Read(path)
    assert "script" not in read.tags and not read.handlers
    assert not re.search(r"@import|url\(", path.read_text(encoding="utf-8"))
    for source in read.sources:
        mime, data = decoded(source)
        if mime == "image/svg+xml":
            root = ElementTree.fromstring(data)
            for element in root.iter():
                assert not element.tag.endswith(("script", "image", "foreignObject"))
                for name, value in element.attrib.items():
                    assert not name.endswith("href") or value.startswith("#")
        else:
            PIL.Image.open(io.BytesIO(data)).load()
    assert all(read.alts)
    ids = re.findall(r'id="([^"]+)"', path.read_text(encoding="utf-8"))
    for link in read.links:
        assert link[1:] in ids if link.startswith("#") else ":" not in link
    return read


@pytest.fixture
def finetuned(tmp_path: Path) -> Read:
    scored = evaluation("Edema", "Effusion", "Hernia")
    return check_stands_alone(finetuning_page(tmp_path, METRICS, scored, mistakes(), CONFIG))


def test_finetuning_page_shows_scores_with_intervals(finetuned: Read) -> None:
    text = " ".join(finetuned.text.split())
    assert "0.812 (0.762 to 0.862)" in text
    assert "0.543 (0.493 to 0.593)" in text
    assert "0.800" in text and "0.432" in text and "0.046" in text


def test_finetuning_page_says_why_a_label_has_no_score(finetuned: Read) -> None:
    assert "Hernia: one class only" in finetuned.text


def test_interval_without_width_is_not_shown_as_certainty(finetuned: Read) -> None:
    assert "0.123 (no width)" in finetuned.text
    assert "0.123 to 0.123" not in finetuned.text


def test_pages_say_where_they_come_from(finetuned: Read) -> None:
    for fact in ("0.1.0", "NIH: free use (acknowledge the NIH)", "ab12cd", "depth"):
        assert fact in finetuned.text


def test_mistakes_show_ids_only_when_given(tmp_path: Path) -> None:
    without = Read(finetuning_page(tmp_path, [], None, mistakes(), {}))
    assert "0.97, labelled no" in without.text and "00012_003" not in without.text
    given = Read(finetuning_page(tmp_path, [], None, mistakes("00012_003"), {}))
    assert "00012_003" in given.text


def test_page_with_pictures_reminds_of_the_terms(tmp_path: Path) -> None:
    reminder = "as their terms allow"
    assert reminder in Read(finetuning_page(tmp_path, [], None, mistakes(), {})).text
    assert reminder not in Read(finetuning_page(tmp_path, METRICS, None, [], {})).text


def test_pretraining_page_shows_images_and_words(tmp_path: Path) -> None:
    words = (Word("no"), Word("effusion", "effusion"), Word("edema", "opacity"))
    read = check_stands_alone(pretraining_page(tmp_path, METRICS, examples((words,)), CONFIG))
    jpegs_and_pngs = [source for source in read.sources if "svg" not in source[:20]]
    assert len(jpegs_and_pngs) == 9
    assert "opacity" in read.text and "1 of 2 shown" in read.text


@pytest.mark.parametrize("metrics", [[], METRICS])
@pytest.mark.parametrize("config", [{}, CONFIG])
def test_missing_parts_still_give_a_page(
    tmp_path: Path, metrics: list[dict[str, Any]], config: dict[str, Any]
) -> None:
    check_stands_alone(pretraining_page(tmp_path, metrics, Examples(), config))
    check_stands_alone(pretraining_page(tmp_path, metrics, examples(), config))
    read = check_stands_alone(finetuning_page(tmp_path, metrics, None, [], config))
    assert "Not evaluated yet" in read.text
    only = evaluation("Edema")
    check_stands_alone(finetuning_page(tmp_path, metrics, only, [], config))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    config = CONFIG | {
        "tuner": HOSTILE,
        "run": HOSTILE,
        "stores": [HOSTILE],
        "x": {HOSTILE: HOSTILE},
    }
    scored = evaluation(HOSTILE, "b", HOSTILE + "2")
    image = np.zeros((20, 20), np.uint8)
    wrong = [Mistake(image, HOSTILE, 0, 0.9, None, HOSTILE)]
    metrics = [{"step": step, HOSTILE: 1.0, "loss": 1.0} for step in (1, 2)]
    read = check_stands_alone(finetuning_page(tmp_path, metrics, scored, wrong, config))
    assert HOSTILE in read.text
    words = ((Word(HOSTILE, HOSTILE), Word("a", HOSTILE)),)
    check_stands_alone(pretraining_page(tmp_path, metrics, examples(words), config))
    scores = [Score(HOSTILE, name, 0.5, 0.4, 0.6) for name in (HOSTILE, "\ud800\x00\x1b", "肺炎")]
    linked = tmp_path / "javascript:alert(1)"
    linked.touch()
    overview = overview_page(
        tmp_path / "index.html", HOSTILE, {HOSTILE: HOSTILE},
        [*grid_sections({HOSTILE: scores}, HOSTILE), *side_by_side({HOSTILE: scored})],
        {HOSTILE: linked}, HOSTILE,
    )  # fmt: skip
    check_stands_alone(overview)


def test_command_makes_the_run_again() -> None:
    assert command(CONFIG, Path("runs/x")) == (
        "radlearn finetune 'stores/a b' --run runs/x --seed 5 --tuner lora "
        "--augment False --labels Edema Effusion"
    )


def test_overview_holds_the_grid_and_links_to_pages_that_are_there(tmp_path: Path) -> None:
    linked = tmp_path / "runs" / "lora 5 %" / "report.html"
    linked.parent.mkdir(parents=True)
    linked.touch()
    scores = [
        Score(method, amount, 0.7, 0.65, 0.7512)
        for method in ("lora", "full")
        for amount in ("5 %", "100 %")
    ]
    nothing = Score("linear", "5 %", math.nan, math.nan, math.nan)
    path = overview_page(
        tmp_path / "index.html", "Grid", {},
        grid_sections({"MRM": [*scores, nothing], "MAE": [nothing]}, "AUROC"),
        {"run": linked, "not there": tmp_path / "no"},
    )  # fmt: skip
    read = check_stands_alone(path)
    assert "0.700 (0.650 to 0.751)" in read.text and "100 %" in read.text
    relative = [link for link in read.links if not link.startswith("#")]
    assert relative == ["runs/lora%205%20%25/report.html"]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two finished runs with predictions of the same records; Hernia has one class."""
    found = []
    for seed, name in enumerate(("full", "lora")):
        rng = np.random.default_rng(seed)
        columns: dict[str, Any] = {
            "split": ["val"] * 60 + ["test"] * 60,
            "id": [f"r{i:03d}" for i in range(120)],
            "patient": [f"p{i // 2}" for i in range(120)],
        }
        for label, truth in (("Edema", np.arange(120) % 3 == 0), ("Hernia", np.zeros(120))):
            logit = truth + rng.normal(size=120)
            columns |= {
                f"label:{label}": np.asarray(truth, float),
                f"logit:{label}": logit,
                f"probability:{label}": 1 / (1 + np.exp(-logit)),
            }
        run = tmp_path / name
        run.mkdir()
        pl.DataFrame(columns).write_parquet(run / "predictions.parquet")
        write_json(run / "results.json", {"finished": True, "fingerprints": {"test": "ab12"}})
        found.append(run)
    return found


def test_page_takes_what_evaluate_gives(runs: list[Path]) -> None:
    scored = evaluate_run(runs[0], EvaluateConfig((runs[0],), resamples=50))
    read = check_stands_alone(finetuning_page(runs[0], METRICS, scored, [], CONFIG))
    auroc = scored["labels"]["Edema"]["auroc"]
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in read.text
    assert "Hernia: one class only" in read.text


def test_comparison_takes_what_evaluate_gives(runs: list[Path]) -> None:
    config = EvaluateConfig(tuple(runs), resamples=50)
    scored = {run.name: evaluate_run(run, config) for run in runs}
    compared = compare_labels(runs, config)
    sections = [*side_by_side(scored), differences(compared)]
    read = check_stands_alone(overview_page(runs[0] / "p.html", "Two", {}, sections, {}))
    difference = compared["pairs"][0]["labels"]["Edema"]["difference"]
    low, high = difference["low"], difference["high"]
    assert f"{difference['value']:+.3f} ({low:+.3f} to {high:+.3f})" in read.text
    assert "lora − full" in read.text
    for run in scored.values():
        assert f"{run['labels']['Edema']['auroc']['value']:.3f}" in read.text


def test_table_aligns_numbers_and_not_words(tmp_path: Path) -> None:
    table = Table("t", ["a", "b", "c"], [["1", "0.5 (0.4 to 0.6)", "x"], ["2", "–", "3"]])
    assert [table.is_numeric(column) for column in range(3)] == [False, True, False]
    page.write_page(tmp_path / "p.html", "t", "", {}, [Section("s", "", [table])])
    assert "0.5 (0.4 to 0.6)" in Read(tmp_path / "p.html").text


def test_page_of_fourteen_labels_stays_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 448, 448), dtype=np.uint8)
    many = [Mistake(image, "Edema", 0, 0.9) for image in noise]
    scored = evaluation(*[f"label {i}" for i in range(14)])
    path = finetuning_page(tmp_path, METRICS * 20, scored, many, CONFIG)
    assert path.stat().st_size < 3_000_000


def test_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = [
        finetuning_page(tmp_path, METRICS, evaluation("a", "b"), mistakes(), CONFIG).read_bytes()
        for _ in range(2)
    ]
    assert pages[0] == pages[1]


def test_report_words_join_pieces_and_their_guesses() -> None:
    pieces = ["[CLS]", "no", "pneumo", "##thorax", "cardio", "##megaly", "[PAD]"]
    masked = [False, False, True, True, False, False, False]
    predicted = ["x", "x", "pneumo", "##nia", "x", "x", "x"]
    assert report_words(pieces, masked, predicted) == (
        Word("no"),
        Word("pneumothorax", "pneumonia"),
        Word("cardiomegaly"),
    )


def test_a_method_keeps_its_style_in_any_company() -> None:
    assert styles(["lora", "full"])["lora"] == styles(["b", "LoRA_rank_4"])["LoRA_rank_4"]
    grid = styles([f"{start}, {tuner}" for start in ("mrm", "mae") for tuner in ("lora", "full")])
    assert grid["mrm, lora"].colour == grid["mae, lora"].colour == styles(["lora"])["lora"].colour
    assert len(set(grid.values())) == 4
    many = styles([f"run {i}" for i in range(14)] + ["lora"])
    assert len(set(many.values())) == 15


def test_curves_of_nothing_are_no_figure() -> None:
    assert curves("x", METRICS, ["absent"]) is None
    assert curves("x", [{"step": 1, "loss": None}], ["loss"]) is None


def test_saliency_marks_where_the_heat_is() -> None:
    image = np.full((8, 8), 100, np.uint8)
    heat = np.zeros((8, 8))
    assert (saliency_overlay(image, heat) == 100).all()
    heat[2, 3] = 5.0
    over = saliency_overlay(image, heat)
    changed = (over != 100).any(axis=-1)
    assert changed[2, 3] and changed.sum() == 1
    assert saliency_overlay(image, np.where(heat > 0, np.nan, heat)).shape == (8, 8, 3)


def test_small_pictures_are_exact_and_large_ones_shrink() -> None:
    small = np.random.default_rng(1).integers(0, 255, (64, 40), dtype=np.uint8)
    image = encode(small)
    assert (np.asarray(PIL.Image.open(io.BytesIO(image.data))) == small).all()
    large = encode(np.zeros((512, 1024), np.uint8))
    assert (large.width, large.height) == (256, 128)
