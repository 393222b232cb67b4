"""Every layout against a fake of its real folder: `data.NAME.make` for each name in LAYOUTS."""

import gzip
import importlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data import folder as folder_data
from data import mimic as mimic_data
from data.fakes import Fake
from radlearn.datasets.layouts import LAYOUTS
from radlearn.datasets.options import LayoutOptions
from radlearn.errors import InputError
from radlearn.records.masks import read_mask
from radlearn.records.readers import read_pixels
from radlearn.records.record import Source, SourceRecord

MAKERS: dict[str, tuple[str, Callable[[Path], Fake]]] = {
    **{name: (name, importlib.import_module(f"data.{name}").make) for name in LAYOUTS},
    "mimic training.csv": ("mimic", mimic_data.make_training),
    "folder tree": ("folder", folder_data.make_tree),
}
TABLED = [n for n in MAKERS if n not in ("openi", "lungs", "medpeft", "folder tree")]


def made(case: str, tmp_path: Path) -> tuple[str, Fake]:
    layout, make = MAKERS[case]
    return layout, make(tmp_path / "deep" / "source")


def read(layout: str, fake: Fake) -> tuple[Source, dict[str, SourceRecord]]:
    source = LAYOUTS[layout](fake.source, fake.options)
    records = list(source.records)
    assert len({r.id for r in records}) == len(records), "ids are unique"
    return source, {r.id: r for r in records}


@pytest.mark.parametrize("case", MAKERS)
def test_yields_the_expected_records(case: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    source, records = read(layout, fake)
    assert set(records) == set(fake.records)
    for name, expected in fake.records.items():
        found = {attribute: getattr(records[name], attribute) for attribute in expected}
        assert found == dict(expected), name
    assert source.label_names == fake.label_names


@pytest.mark.parametrize("case", MAKERS)
def test_sets_aside_what_it_cannot_take_and_says_why(case: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    source, _ = read(layout, fake)
    reasons = {s.path: s.reason for s in source.set_aside}
    assert set(reasons) == set(fake.set_aside)
    for path, words in fake.set_aside.items():
        assert words in reasons[path], (path, reasons[path])


@pytest.mark.parametrize("case", MAKERS)
def test_what_it_points_at_can_be_read_and_lies_within(case: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    roots = [fake.source.resolve(), fake.options.images and fake.options.images.resolve()]
    for record in read(layout, fake)[1].values():
        assert set(record.labels.values()) <= {0.0, 1.0, -1.0}
        assert set(record.labels) <= set(fake.label_names)
        if record.image is None:
            assert record.report
            continue
        assert any(record.image.resolve().is_relative_to(r) for r in roots if r)
        values = read_pixels(record.image).values
        if record.mask:
            drawn = read_mask(record.mask)
            assert drawn.shape == values.shape
            assert drawn.any() == (record.labels.get("Pneumothorax") != 0.0)


@pytest.mark.parametrize("case", MAKERS)
def test_streams_and_carries_its_licence(case: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    source = LAYOUTS[layout](fake.source, fake.options)
    assert isinstance(source.records, Iterator)
    assert source.name
    assert source.licence
    assert len(source.terms) > 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_folder_is_told_what_was_looked_for(layout: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "absent"):
        with pytest.raises(InputError, match=f"{layout} looks for") as error:
            list(LAYOUTS[layout](tmp_path / place, LayoutOptions()).records)
        assert str(tmp_path / place) in str(error.value)


@pytest.mark.parametrize("case", TABLED)
def test_a_table_without_its_column_is_named_with_the_columns_it_has(
    case: str, tmp_path: Path
) -> None:
    layout, fake = made(case, tmp_path)
    _rewrite(fake, lambda text: text.replace(fake.column, "Quatsch", 1))
    with pytest.raises(InputError) as error:
        list(LAYOUTS[layout](fake.source, fake.options).records)
    assert f"no column {fake.column!r}" in str(error.value)
    assert "Quatsch" in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "windows line ends", "spaces"])
@pytest.mark.parametrize("case", TABLED)
def test_a_table_is_read_in_any_encoding(case: str, encoding: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    if encoding == "windows line ends":
        _rewrite(fake, lambda text: text.replace("\n", "\r\n"))
    elif encoding == "spaces":
        _rewrite(fake, lambda text: "\n" + text.replace(",", " , ").replace(' , "', ',"'))
    else:
        _rewrite(fake, lambda text: text, encoding)
    assert set(read(layout, fake)[1]) == set(fake.records)


@pytest.mark.parametrize("case", ["nih", "chexpert", "mimic", "covid", "siim"])
def test_an_unknown_published_split_is_refused_with_the_choice(case: str, tmp_path: Path) -> None:
    layout, fake = made(case, tmp_path)
    options = replace(fake.options, published="mine")
    with pytest.raises(
        InputError, match=r"no published split 'mine'; .*(official|mrm-viral1|is mrm)"
    ):
        list(LAYOUTS[layout](fake.source, options).records)


def test_nih_keeps_its_official_lists_and_no_list_leaves_the_split_open(tmp_path: Path) -> None:
    _, fake = made("nih", tmp_path)
    official = replace(fake, options=LayoutOptions(published="official"))
    splits = {name: record.split for name, record in read("nih", official)[1].items()}
    assert splits == {"00000001_000": "train", "00000001_001": "train", "00000013_000": "test"}
    unsplit = read("nih", replace(fake, options=LayoutOptions()))[1]
    assert {record.split for record in unsplit.values()} == {None}
    columns = {name: (r.extra["official"], r.extra.get("medpeft")) for name, r in unsplit.items()}
    assert columns == {
        "00000001_000": ("train", "train"),
        "00000001_001": ("train", None),
        "00000013_000": ("test", "val"),
    }


def test_siim_draws_its_own_split_without_mrm_s_and_names_a_list_that_is_missing(
    tmp_path: Path,
) -> None:
    _, fake = made("siim", tmp_path)
    unsplit = read("siim", replace(fake, options=LayoutOptions()))[1]
    assert {record.split for record in unsplit.values()} == {None}
    (fake.source / "mrm_splits" / "val_list.txt").unlink()
    with pytest.raises(InputError, match=r"needs .*mrm_splits/val_list\.txt, which is not there"):
        read("siim", fake)


def test_covid_joins_patients_who_share_a_file(tmp_path: Path) -> None:
    _, fake = made("covid", tmp_path)
    assert read("covid", fake)[0].same_patient == (frozenset({"5", "6"}),)


def test_openi_reads_unpacked_reports_and_refuses_a_damaged_archive(tmp_path: Path) -> None:
    _, fake = made("openi", tmp_path)
    archive = fake.source / "NLMCXR_reports.tgz"
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        read("openi", fake)
    archive.unlink()
    (fake.source / "7.xml").write_text(
        importlib.import_module("data.openi").report(7, "Clear lungs.", "Normal."), "utf-8"
    )
    assert read("openi", fake)[1]["CXR7"].report == "Clear lungs. Normal."


def test_medpeft_refuses_lists_that_contradict_each_other(tmp_path: Path) -> None:
    _, fake = made("medpeft", tmp_path)
    first = (fake.source / "CheXpert_train_1.txt").read_text()
    (fake.source / "CheXpert_test_list.txt").write_text(first)
    with pytest.raises(InputError, match="has too"):
        read("medpeft", fake)
    (fake.source / "CheXpert_test_list.txt").write_text("a.dcm 0\n")
    with pytest.raises(InputError, match="several data sets"):
        read("medpeft", fake)


def test_medpeft_trains_on_what_validates_as_well(tmp_path: Path) -> None:
    _, fake = made("medpeft", tmp_path)
    first = (fake.source / "CheXpert_train_1.txt").read_text()
    (fake.source / "CheXpert_val_list.txt").write_text(first)
    source, records = read("medpeft", fake)
    both = [record for record in records.values() if "val" in record.extra["lists"]]
    assert both and {record.split for record in both} == {"train"}
    assert any("validates nothing" in one.reason for one in source.set_aside)
    assert source.name == "CheXpert"


@pytest.mark.parametrize(
    ("patient_from", "patients"),
    [("file", {"meier/1", "meier/2", "schulz/1"}), ("folder", {"meier", "schulz"})],
)
def test_folder_takes_patients_as_told(
    patient_from: str, patients: set[str], tmp_path: Path
) -> None:
    _, fake = made("folder tree", tmp_path)
    options = LayoutOptions(patient_from=patient_from)  # type: ignore[arg-type]
    records = read("folder", replace(fake, options=options))[1]
    assert {r.patient for r in records.values() if r.id.startswith(("meier", "schulz"))} == patients


def _rewrite(fake: Fake, change: Callable[[str], str], encoding: str = "utf-8") -> None:
    assert fake.table is not None
    packed = fake.table.suffix == ".gz"
    raw = fake.table.read_bytes()
    text = change((gzip.decompress(raw) if packed else raw).decode())
    raw = text.encode(encoding)
    fake.table.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.parametrize(
    ("layout", "place", "files"),
    [
        ("nih", "nih", "images/*.png"),
        ("covid", "covid", "images/*.*"),
        ("hannover", "hannover", "png/*.png"),
        ("lungs", "lungs", "cxr/*.png"),
        ("medpeft", "nih", "images/*.png"),
    ],
)
def test_real_data_gives_a_record_for_every_file(
    layout: str, place: str, files: str, radlearn_data: Path
) -> None:
    source = LAYOUTS[layout](radlearn_data / place, LayoutOptions())
    images = [r.image for r in source.records]
    assert len(images) == len(set(images))
    assert {p.name for p in images if p} == {p.name for p in (radlearn_data / place).glob(files)}
    assert {s.reason for s in source.set_aside} <= {"the file is missing"}


def test_every_openi_report_is_a_record_or_set_aside(radlearn_data: Path) -> None:
    source = LAYOUTS["openi"](radlearn_data / "openi", LayoutOptions())
    records = list(source.records)
    with tarfile.open(radlearn_data / "openi/NLMCXR_reports.tgz") as archive:
        reports = [m.name for m in archive if m.name.endswith(".xml")]
    assert len(records) + len(source.set_aside) == len(reports)
    assert {s.reason for s in source.set_aside} <= {"neither findings nor impression"}
