"""Which records a task takes: columns as targets, studies pooled, and refusals in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from radlearn.errors import InputError
from radlearn.finetuning.batches import MOST_PICTURES, FinetuneBatches
from radlearn.finetuning.config import FinetuneConfig
from radlearn.finetuning.continuous import Continuous
from radlearn.finetuning.examples import Examples, choose, examples, studies
from radlearn.finetuning.multi_label import MultiLabel
from radlearn.finetuning.ordinal import Ordinal
from radlearn.finetuning.single_label import SingleLabel
from radlearn.finetuning.targets import classes_of, full_name, numbers, places
from radlearn.records.record import Split
from radlearn.records.store import Selection, Store, select
from radlearn.records.transforms import Preprocessing

NAN = np.nan
COUNT = 24


def made(**changes: Any) -> Store:
    """24 records of 12 patients, half of them for training; `changes` replaces columns."""
    at = range(COUNT)
    rows: dict[str, Any] = {
        "id": [f"r{i:02}" for i in at],
        "patient": [f"p{i // 2}" for i in at],
        "split": [("train", "train", "val", "test")[i // 2 % 4] for i in at],
        "order": list(at),
        "view": ["frontal", "lateral"] * (COUNT // 2),
        "age": [20.0 + i for i in at],
        "sex": ["F", "F", "M", "M"] * (COUNT // 4),
        "report": [None] * COUNT,
        "licence": [None] * COUNT,
        "sha256": [f"{i}" for i in at],
        "shard": [0] * COUNT,
        "index": list(at),
        "has_mask": [False] * COUNT,
        "label:A": [float(i // 2 % 3 == 0) for i in at],
        "label:B": [float(i // 2 % 3 == 1) for i in at],
        "extra:study": [f"s{i // 2}" for i in at],
        "extra:grade": ["mild", "none", "severe", ""] * (COUNT // 4),
        "extra:score": [str(i % 5) for i in at],
    } | changes
    info = {"size": 32, "label_names": ["A", "B"], "count": COUNT, "images": COUNT, "masks": 0,
            "reports": 0, "splits": {}, "sources": []}  # fmt: skip
    return Store(Path("made"), info, pl.DataFrame(rows, strict=False))


def config(**changes: Any) -> FinetuneConfig:
    return FinetuneConfig((Path("made"),), Path("run"), **({"view": "all"} | changes))


def training(store: Store) -> Selection:
    return select([store], split=Split.TRAIN, view="all")


def test_extra_columns_go_by_their_short_names() -> None:
    assert full_name([made()], "study") == "extra:study"
    assert full_name([made()], "age") == "age"
    with pytest.raises(InputError, match=r"no column named patient.*age, grade, score, sex"):
        full_name([made()], "patient")


def test_classes_are_sorted_by_number_by_name_or_as_given() -> None:
    whole = training(made())
    assert classes_of(whole, "extra:score", (), rising=True) == ("0", "1", "2", "3", "4")
    assert classes_of(whole, "extra:grade", (), rising=False) == ("mild", "none", "severe")
    given = ("none", "severe")
    assert classes_of(whole, "extra:grade", given, rising=True) == given
    assert np.array_equal(
        places(whole.take([0, 1, 2, 3]), "extra:grade", given)[:, 0], [NAN, 0, 1, NAN], True
    )


def test_what_cannot_be_told_apart_is_one_clear_line() -> None:
    whole = training(made())
    with pytest.raises(InputError, match="which way extra:grade rises"):
        classes_of(whole, "extra:grade", (), rising=True)
    with pytest.raises(InputError, match="no training record has extra:grade worst"):
        classes_of(whole, "extra:grade", ("none", "worst"), rising=False)
    with pytest.raises(InputError, match=r"nothing to tell apart.*frontal \(6\)"):
        frontal = select([made()], split=Split.TRAIN)
        classes_of(frontal, "view", (), rising=False)
    many = made(**{"extra:grade": [f"{i} cm" for i in range(COUNT)]})
    with pytest.raises(InputError, match=r"rises"):
        classes_of(training(many), "extra:grade", (), rising=True)


def test_numbers_are_read_and_words_refused() -> None:
    found = numbers(training(made(**{"extra:score": ["1.5", "", None, " 2 "] * 6})), "extra:score")
    assert np.array_equal(found[:4, 0], [1.5, NAN, NAN, 2.0], equal_nan=True)
    with pytest.raises(InputError, match=r"'mild'.*no numbers"):
        numbers(training(made()), "extra:grade")


def test_exclusive_labels_make_classes_and_others_are_refused() -> None:
    task = SingleLabel.of([made()], config(task="single-label"))
    assert task.reading.names == ("A", "B")
    assert set(task.truth[Split.TRAIN][:, 0]) == {0, 1}  # those that are neither are left out
    assert len(task.records[Split.TRAIN]) < 12
    both = made(**{"label:B": [1.0] * COUNT})
    with pytest.raises(InputError, match=r"more than one of these labels.*multi-label"):
        SingleLabel.of([both], config(task="single-label"))
    alone = made(**{"label:B": [0.0] * COUNT})
    with pytest.raises(InputError, match=r"nothing to tell apart.*have A;"):
        SingleLabel.of([alone], config(task="single-label"))
    with pytest.raises(InputError, match="no training record is B"):
        SingleLabel.of([alone], config(task="single-label", labels=("A", "B")))


def test_every_split_keeps_what_is_known_only() -> None:
    given = config(task="ordinal", target="grade", classes=("none", "mild", "severe"))
    task = Ordinal.of([made()], given)
    for split in Split:
        assert not np.isnan(task.truth[split]).any()
        assert "" not in task.records[split].column("extra:grade")


def test_one_number_for_all_is_refused() -> None:
    same = made(age=[50.0] * COUNT)
    with pytest.raises(InputError, match="nothing to learn: age of all training records is 50"):
        Continuous.of([same], config(task="continuous", target="age"))


def test_studies_belong_to_one_patient_and_lone_records_to_themselves() -> None:
    column = ["s1", "s1", "s1", None, "", "", "s2", "s2"] + ["x"] * (COUNT - 8)
    whole = select([made(**{"extra:study": column})], split=None, view="all")
    found = [tuple(study.tolist()) for study in studies(whole, "study")]
    assert found[:6] == [(0, 1), (2,), (3,), (4,), (5,), (6, 7)]


def test_a_fraction_of_studies_keeps_them_whole() -> None:
    given = config(pool="study", fraction=0.5)
    found = choose([made()], given, {"image"}, lambda split, some: np.ones(len(some), bool))
    train = examples(found[Split.TRAIN], given)
    assert len(train) == 3 and len(train.records) == 6
    assert train.first.ids == [train.records.ids[0], train.records.ids[2], train.records.ids[4]]


def test_a_study_is_positive_where_one_picture_is_and_of_a_class_where_all_agree(
    capsys: pytest.CaptureFixture[str],
) -> None:
    two = Examples(training(made()).take(range(6)), (np.arange(3), np.arange(3, 6)))
    values = np.array([[0], [NAN], [1], [2], [2], [NAN]], np.float32)
    assert np.array_equal(two.any_of(values)[:, 0], [1, 2])
    assert np.array_equal(two.one_of(values, "the grade")[:, 0], [NAN, 2], equal_nan=True)
    assert "1 studies count for nothing: their records differ in the grade" in (
        capsys.readouterr().err
    )


def test_a_pooled_task_counts_studies() -> None:
    task = MultiLabel.of([made()], config(pool="study"))
    assert task.count(Split.TRAIN) == 6 and len(task.records[Split.TRAIN]) == 12
    assert task.truth[Split.TRAIN].shape == (6, 2)
    assert task.facts()["pool"] == "study"


def batches(of: Examples, **changes: Any) -> FinetuneBatches:
    truth = np.arange(len(of), dtype=np.float32)[:, None]
    pre = Preprocessing(size=8, mean=0.5, std=0.25)
    settings: dict[str, Any] = {"batch": 4, "seed": 0, "augment": "none", "crop": (0.2, 1.0)}
    return FinetuneBatches(of, truth, pre, **(settings | changes))


def test_a_batch_of_studies_says_whose_each_picture_is() -> None:
    whole = select([made()], split=None, view="all")
    of = Examples(whole, (np.arange(3), np.arange(3, 4), np.arange(4, COUNT)))
    shown, batch = batches(of, batch=3).asked(0)
    sizes = {0: 3, 1: 1, 2: MOST_PICTURES}
    of_row = batch["truth"][:, 0].long().tolist()
    assert batch["study"].bincount().tolist() == [sizes[study] for study in of_row]
    for picture, row in zip(shown, batch["study"].tolist(), strict=True):
        assert picture in of.studies[of_row[row]]
    again, _ = batches(of, batch=3).asked(1)
    assert not np.array_equal(np.sort(shown), np.sort(again))  # other pictures of the large study


def test_rare_examples_are_drawn_as_often_as_their_chance_says() -> None:
    of = Examples(training(made()))
    chances = np.array([0.5, 0.5] + [0.0] * 10)
    make = batches(of, chances=chances, batch=400)
    drawn = make.drawn(3)
    assert set(drawn) == {0, 1} and 150 < (drawn == 0).sum() < 250
    assert np.array_equal(drawn, make.drawn(3)) and not np.array_equal(drawn, make.drawn(4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "ordinal"}, "needs --target"),
        ({"target": "age"}, "leave them out"),
        ({"task": "continuous", "target": "age", "balance": "weights"}, "are for labels"),
        ({"task": "segmentation", "pool": "study"}, "--pool is not for segmentation"),
        ({"task": "single-label", "classes": ("a", "b")}, "--classes names the values"),
        ({"task": "single-label", "target": "sex", "classes": ("F",)}, "two classes or more"),
        ({"task": "single-label", "target": "sex", "labels": ("A",)}, "not both"),
        ({"robust": True, "label_smoothing": 0.1}, "give one"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"lr_floor": 1.0}, "--lr-floor"),
        ({"batch": 0}, "--batch must be above 0"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(**changes)
