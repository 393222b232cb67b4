"""Scores are marked where test patients may have been seen before, and only there."""

from dataclasses import replace
from pathlib import Path

import pytest
from made_sources import made_config, made_picture, made_source, save_picture

from radlearn.datasets import chexpert, covid, hannover, mimic, nih, rsna, siim
from radlearn.datasets.kin import KIN, SEEN, kinship
from radlearn.datasets.layouts import LAYOUTS
from radlearn.files import write_json
from radlearn.finetuning.segmentation_elsewhere import _marks as elsewhere
from radlearn.models.backbone import BackboneConfig
from radlearn.models.imported import CXR_MAE_PREPROCESSING, MRM_PREPROCESSING, Imported
from radlearn.models.lineage import (
    Seen,
    all_sources,
    learnt_from,
    pretrained_on,
    stores_there,
    united,
)
from radlearn.models.lineage import marks as marks_of
from radlearn.records.prepare import prepare_source
from radlearn.records.record import SourceRecord, Split
from radlearn.records.store import Selection, Store, open_store, select

BACKBONE = BackboneConfig("vit_tiny_patch16_224")


def made(folder: Path, name: str, first: int, link: tuple[Path, ...] = ()) -> Store:
    """A store of ten patients, one picture each, the pictures of numbers from `first` on."""
    records = [
        SourceRecord(
            id=f"{name[:4]}{number}",
            patient=f"{name[:4]}{number}",
            image=save_picture(folder / "images" / f"{number}.png", made_picture(number)),
            labels={"Effusion": float(number % 2)},
        )
        for number in range(first, first + 10)
    ]
    config = made_config(folder, folder / "store", link=link, val=0.0, test=0.5)
    prepare_source(made_source(records, name=name), config)
    return open_store(folder / "store")


def marks(
    tested: Selection, trained: list[Store], before: list[Store], sources: list[dict[str, str]]
) -> list[str]:
    stages = Seen("training", trained, ()), Seen("pretraining", before, sources)
    return marks_of(tested, *stages)


def test_of(store: Store) -> Selection:
    return select([store], split=Split.TEST, view="all")


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("seen"), nih.NAME, 0)


def test_the_split_of_one_store_keeps_patients_apart(seen: Store) -> None:
    assert marks(test_of(seen), [seen], [seen], seen.licences) == []


def test_data_drawn_from_what_was_seen_is_marked(seen: Store, tmp_path: Path) -> None:
    drawn = made(tmp_path, rsna.NAME, 100)
    (mark,) = marks(test_of(drawn), [drawn], [seen], seen.licences)
    assert "pretraining saw NIH" in mark and "drawn from NIH's" in mark
    (trained,) = marks(test_of(drawn), [drawn, seen], [], [])
    assert trained.startswith("training saw NIH")
    stranger = made(tmp_path / "other", chexpert.NAME, 100)
    assert marks(test_of(stranger), [stranger], [seen], seen.licences) == []


def test_a_run_on_another_store_is_marked_too_and_when_its_own_has_gone(
    seen: Store, tmp_path: Path
) -> None:
    drawn = test_of(made(tmp_path, rsna.NAME, 100))
    there = {"stores": [str(seen.path)], "licences": seen.licences, "learnt_from": []}
    (mark,) = elsewhere(there, drawn)
    assert mark.startswith("training saw NIH")
    assert elsewhere(there | {"stores": [str(tmp_path / "gone")]}, drawn) == [mark]
    assert elsewhere(there | {"licences": [], "stores": []}, drawn) == []


def test_a_link_tells_for_certain(seen: Store, tmp_path: Path) -> None:
    linked = made(tmp_path / "linked", rsna.NAME, 200, (seen.path,))
    assert marks(test_of(linked), [linked], [seen], seen.licences) == []


def test_files_seen_before_are_counted_whatever_the_names(seen: Store, tmp_path: Path) -> None:
    again = made(tmp_path, "Our hospital", 0)
    trained = set(seen.rows.filter(seen.rows["split"] == "train")["sha256"])
    tested = again.rows.filter(again.rows["split"] == "test")["sha256"].to_list()
    known = sum(one in trained for one in tested)
    (mark,) = marks(test_of(again), [again], [seen], seen.licences)
    assert known and mark.startswith(f"{known} of the {len(tested)} test records")


def test_another_store_of_the_same_data_is_marked(seen: Store, tmp_path: Path) -> None:
    other = made(tmp_path, nih.NAME, 300)
    (mark,) = marks(test_of(other), [other], [seen], seen.licences)
    assert "both are of one data set" in mark


def test_published_weights_are_known_by_their_data(seen: Store) -> None:
    weights = Imported("CXR-MAE", BACKBONE, CXR_MAE_PREPROCESSING, {})
    bare = replace(weights, kind="MAE")
    mrm = Imported("MRM", BACKBONE, MRM_PREPROCESSING, {})
    names = {one["name"] for one in learnt_from(weights)}
    assert names == {one["name"] for one in learnt_from(bare)} == set(SEEN["CXR-MAE"])
    (mark,) = marks(test_of(seen), [seen], [], learnt_from(weights))
    assert "pretraining saw NIH" in mark
    assert [one["name"] for one in learnt_from(mrm)] == [mimic.NAME]
    assert marks(test_of(seen), [seen], [], learnt_from(mrm)) == []
    assert pretrained_on(None) == ("pretraining", [], [])


def test_a_run_says_what_it_learnt_from_and_where_its_stores_are(
    seen: Store, tmp_path: Path
) -> None:
    saw = united(seen.licences, seen.licences)
    assert saw == seen.licences
    write_json(
        tmp_path / "config.json", {"mission": "pretraining", "stores": [str(seen.path), "x"]}
    )
    write_json(tmp_path / "model" / "config.json", {"radlearn": {"learnt_from": saw}})
    ours = Imported("radlearn", BACKBONE, MRM_PREPROCESSING, {}, folder=tmp_path / "model")
    assert learnt_from(ours) == saw
    assert [store.path for store in pretrained_on(ours).stores] == [seen.path]
    assert stores_there([str(tmp_path)]) == []


def test_what_was_tuned_is_carried_on_with_what_was_seen_before(tmp_path: Path) -> None:
    before = {"name": "A", "licence": "CC BY-NC", "terms": "no commercial use"}
    tuned = {"name": "B", "licence": "CC0", "terms": ""}
    facts = {"learnt_from": [before], "licences": [tuned, before]}
    assert all_sources(facts) == [before, tuned]
    for place, saved in (("both", facts), ("licences", {"licences": [before, tuned]})):
        write_json(tmp_path / place / "config.json", {"radlearn": saved})
        model = Imported("radlearn", BACKBONE, MRM_PREPROCESSING, {}, folder=tmp_path / place)
        assert learnt_from(model) == [before, tuned]


def test_the_table_knows_data_sets_by_the_names_that_their_stores_have() -> None:
    known = {one.NAME for one in (chexpert, covid, hannover, mimic, nih, rsna, siim)}
    assert len(known) == 7 <= len(LAYOUTS)
    assert all(one.names <= known and len(one.names) == 2 for one in KIN)
    assert {name for names in SEEN.values() for name in names} <= known
    assert kinship(rsna.NAME, siim.NAME) == kinship(siim.NAME, rsna.NAME) is not None
    assert kinship(mimic.NAME, chexpert.NAME) is None
