"""Stores and choices among their records."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_sources import made_config, made_records, made_source

from radlearn.errors import InputError
from radlearn.records.prepare import prepare_source
from radlearn.records.record import Split, View
from radlearn.records.store import Selection, Store, open_store, select

PATIENTS = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("made")
    records = made_records(folder, PATIENTS)
    views = [View.LATERAL if i % 5 == 4 else View.UNKNOWN for i in range(len(records))]
    changed = [
        replace(record, view=view, licence="CC BY-SA" if i == 3 else None)
        for i, (record, view) in enumerate(zip(records, views, strict=True))
    ]
    prepare_source(made_source(changed), made_config(folder, folder / "store"))
    return open_store(folder / "store")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of reports alone, with another label."""
    folder = tmp_path_factory.mktemp("reports")
    records = [
        replace(record, image=None, mask=None, report="Clear.", labels={"Edema": 1.0})
        for record in made_records(folder, 9, 1)
    ]
    source = made_source(records, name="Reports", label_names=("Edema",), licence="CC BY-NC")
    prepare_source(source, made_config(folder, folder / "store", size=None))
    return open_store(folder / "store")


def test_files_are_ordinary(store: Store) -> None:
    rows = pl.read_parquet(store.path / "records.parquet")
    images = np.load(store.path / "images-00000.npy")
    masks = np.load(store.path / "masks-00000.npy")
    info = json.loads((store.path / "store.json").read_text())
    assert images.shape == masks.shape == (2 * PATIENTS, 48, 48)
    assert images.dtype == masks.dtype == np.uint8 and set(np.unique(masks)) == {0, 1, 255}
    assert info["count"] == info["images"] == rows.height == 2 * PATIENTS
    assert info["masks"] == rows["has_mask"].sum() == PATIENTS
    assert info["reports"] == rows["report"].count()
    train = rows.filter(pl.col("split") == "train")
    grey = images[train["index"].to_numpy()] / 255
    assert info["pixel_mean"] == pytest.approx(grey.mean())
    assert info["pixel_std"] == pytest.approx(grey.std())


def test_pixels_are_those_of_the_row(store: Store) -> None:
    images = np.load(store.path / "images-00000.npy")
    for row in range(store.rows.height):
        image, mask = store.image(row), store.mask(row)
        assert image is not None and image.flags.writeable
        assert np.array_equal(image, images[store.rows["index"][row]])
        assert (mask is not None) == store.rows["has_mask"][row]
        if mask is not None:
            shown = image[:, 3:-3]
            assert ((shown > 128) == mask[:, 3:-3]).mean() > 0.9


def test_a_store_travels_as_its_path(store: Store) -> None:
    payload = pickle.dumps(select([store], split=None))
    assert len(payload) < 5000
    again: Selection = pickle.loads(payload)
    assert again.fingerprint() == select([store], split=None).fingerprint()
    image, same = again.image(0), select([store], split=None).image(0)
    assert image is not None and np.array_equal(image, same)


def test_splits_share_no_patient_and_have_the_fingerprint_of_the_store(store: Store) -> None:
    chosen = {split: select([store], split=split, view="all") for split in Split}
    for split, selection in chosen.items():
        assert selection.fingerprint() == store.info["splits"][split]["fingerprint"]
        assert len(selection) == store.info["splits"][split]["records"]
    patients = [set(selection.patients) for selection in chosen.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == PATIENTS


def test_views_and_needs_choose(store: Store, reports: Store) -> None:
    everything = select([store], split=None, view="all")
    lateral = select([store], split=None, view="lateral")
    frontal = select([store], split=None)
    assert sorted(lateral.ids + frontal.ids) == sorted(everything.ids)
    assert set(lateral.column("view")) == {"lateral"}
    both = select([store, reports], split=None, view="all")
    assert len(both) == len(everything) + 9
    assert both.has_image.sum() == len(everything) and both.size == 48
    for need, has in (
        ("image", lambda s, i: s.image(i) is not None),
        ("report", lambda s, i: s.report(i) is not None),
        ("mask", lambda s, i: s.mask(i) is not None),
        ("labels", lambda s, i: not np.isnan(s.labels(["Effusion", "Edema"], "ignore")[i]).all()),
    ):
        having = select([store, reports], split=None, view="all", needs=frozenset({need}))
        expected = [both.ids[i] for i in range(len(both)) if has(both, i)]
        assert sorted(having.ids) == sorted(expected) and 0 < len(having) < len(both)


def test_labels_keep_the_order_asked_and_know_what_is_not_labelled(
    store: Store, reports: Store
) -> None:
    chosen = select([store, reports], split=None, view="all")
    labels = chosen.labels(["Mass", "Edema", "Effusion"], "ignore")
    assert labels.shape == (len(chosen), 3)
    for position, (name, image) in enumerate(zip(chosen.ids, chosen.has_image, strict=True)):
        patient = int(name[1:4])
        labelled = bool(image) and patient % 4 != 0
        effusion = float(patient % 2) if labelled else np.nan
        edema = np.nan if image else 1.0
        expected = [np.nan, edema, effusion]
        assert np.array_equal(labels[position], np.array(expected, np.float32), equal_nan=True)
    for policy, value in (("zero", 0.0), ("one", 1.0)):
        mass = select([store], split=None).labels(["Mass"], policy)
        assert set(mass[~np.isnan(mass)]) == {value}


def test_columns_are_in_the_order_of_the_selection(store: Store, reports: Store) -> None:
    chosen = select([store, reports], split=None, view="all").take([7, 0, 20])
    assert len(chosen) == 3
    for position in range(3):
        number, row = chosen.at[position]
        rows = chosen.stores[number].rows
        assert chosen.ids[position] == rows["id"][int(row)]
        assert chosen.report(position) == rows["report"][int(row)]
        assert chosen.column("extra:ward")[position] == rows["extra:ward"][int(row)]
    only_images = chosen.column("label:Effusion")
    assert [v is None for v in only_images] == [
        chosen.stores[s].rows.get_column("label:Effusion", default=pl.Series([None] * 99))[int(r)]
        is None
        for s, r in chosen.at
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5))
def test_fractions_nest(store: Store, reports: Store, fractions: list[float]) -> None:
    stores = [store, reports]
    everything = select(stores, split=None, view="all")
    before: set[str] = set()
    for fraction in sorted(fractions):
        chosen = select(stores, split=None, view="all", fraction=fraction)
        assert len(chosen) == max(round(fraction * len(everything)), 1)
        keys = {f"{s}:{r}" for s, r in chosen.at.tolist()}
        assert before <= keys
        before = keys


def test_a_fraction_takes_from_each_store(store: Store, reports: Store) -> None:
    chosen = select([store, reports], split=None, view="all", fraction=0.4)
    counts = np.bincount(chosen.at[:, 0])
    assert counts[0] == pytest.approx(0.4 * store.rows.height, abs=2)
    assert counts[1] == pytest.approx(0.4 * reports.rows.height, abs=2)


def test_licences_are_of_what_is_chosen(store: Store, reports: Store) -> None:
    both = select([store, reports], split=None, view="all")
    of = {(entry["name"], entry["licence"]) for entry in both.licences()}
    assert of == {("Made", "CC0"), ("Made", "CC BY-SA"), ("Reports", "CC BY-NC")}
    plain = [i for i, licence in enumerate(both.column("licence")) if licence is None]
    assert ("Made", "CC BY-SA") not in {
        (entry["name"], entry["licence"]) for entry in both.take(plain).licences()
    }


def test_clear_errors(store: Store, reports: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a store: it has no store\.json"):
        open_store(tmp_path)
    (tmp_path / "parts").mkdir()
    with pytest.raises(InputError, match="not finished: run the same prepare command again"):
        open_store(tmp_path)
    with pytest.raises(
        InputError, match="no label named Cough in store; the labels are: Effusion, Mass"
    ):
        select([store], split=None).labels(["Cough"], "ignore")
    with pytest.raises(InputError, match="no column named cough"):
        select([store], split=None).column("cough")
    with pytest.raises(
        InputError, match=r"no record left of split train, .*with image: .*9 reports"
    ):
        select([reports], split=Split.TRAIN, needs=frozenset({"image"}))
    with pytest.raises(InputError, match=r"fraction 1\.5"):
        select([store], split=None, fraction=1.5)


def test_stores_of_two_sizes_do_not_mix(store: Store, tmp_path: Path) -> None:
    records = made_records(tmp_path, 2, 1)
    prepare_source(made_source(records), made_config(tmp_path, tmp_path / "other", size=32))
    with pytest.raises(InputError, match="different sizes: store 48 px, other 32 px"):
        select([store, open_store(tmp_path / "other")], split=None)


def test_damage_is_told(tmp_path: Path) -> None:
    records = made_records(tmp_path, 3, 1)
    prepare_source(made_source(records), made_config(tmp_path, tmp_path / "store"))
    shard = tmp_path / "store" / "images-00000.npy"
    shard.write_bytes(shard.read_bytes()[:500])
    with pytest.raises(InputError, match=r"damaged: cannot read images-00000\.npy"):
        open_store(tmp_path / "store").image(0)
    rows = pl.read_parquet(tmp_path / "store" / "records.parquet")
    rows.head(1).write_parquet(tmp_path / "store" / "records.parquet")
    with pytest.raises(InputError, match=r"1 records where store\.json says 3"):
        open_store(tmp_path / "store")


MISSING = object()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", MISSING), ("count", None), ("count", "x"), ("count", 10**12),
        ("size", MISSING), ("size", "x"), ("size", []), ("format", MISSING), ("kind", "pairs"),
        ("label_names", MISSING), ("label_names", "x"), ("label_names", [None]),
        ("label_names", 1), ("label_names", ["elsewhere"]),
    ],
)  # fmt: skip
def test_a_store_whose_description_is_wrong_is_refused(
    store: Store, tmp_path: Path, name: str, value: object
) -> None:
    shutil.copytree(store.path, tmp_path / "copy")
    info = json.loads((tmp_path / "copy" / "store.json").read_text())
    changed = {key: one for key, one in (info | {name: value}).items() if one is not MISSING}
    (tmp_path / "copy" / "store.json").write_text(json.dumps(changed))
    with pytest.raises(InputError):
        open_store(tmp_path / "copy")
