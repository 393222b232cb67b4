"""Sources that mean harm, through the commands: names that climb, endless tables, odd encodings.

Nothing outside the given folders is read or written, memory stays bounded, and what is refused is
refused in one line.
"""

import csv
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from e2e.conftest import run
from limits import memory_up_to
from radlearn.records.store import open_store

REPORT = (
    '<eCitation><uId id="CXR{0}"/><Abstract><AbstractText Label="FINDINGS">{1}</AbstractText>'
    "</Abstract></eCitation>"
)
SECRET = "of somebody else"
MB = 2**20
HERE = ("--val", 0, "--test", 0, "--workers", 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in lines[-1] and len(lines[-1]) < 1000
    return lines[-1]


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (24, 24), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def archive(path: Path, secret: Path) -> None:
    """One honest report, and every way of a name to climb out."""
    climbing = ("../../climbed.xml", str(path.parent.parent / "absolute.xml"), "a/../../up.xml")
    with tarfile.open(path, "w:gz") as made:
        for number, name in enumerate(("1.xml", *climbing)):
            text = REPORT.format(number, f"Clear lungs {number}.").encode()
            member = entry(name)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
        made.addfile(entry("link.xml", tarfile.SYMTYPE, str(secret)))
        made.addfile(entry("up.xml", tarfile.SYMTYPE, "../secret.xml"))
        made.addfile(entry("hard.xml", tarfile.LNKTYPE, "../secret.xml"))
        made.addfile(entry("null.xml", tarfile.CHRTYPE))
        made.addfile(entry("disk.xml", tarfile.BLKTYPE))
        made.addfile(entry("pipe.xml", tarfile.FIFOTYPE))


def test_an_archive_with_climbing_names_writes_and_reads_nothing_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text(REPORT.format(9, SECRET))
    (tmp_path / "in").mkdir()
    archive(tmp_path / "in" / "NLMCXR_reports.tgz", secret)
    there = set(tmp_path.rglob("*"))
    assert run("prepare", "openi", tmp_path / "in", tmp_path / "store", *HERE) == 0
    new = set(tmp_path.rglob("*")) - there
    assert all(path.is_relative_to(tmp_path / "store") for path in new)
    reports = open_store(tmp_path / "store").rows["report"].to_list()
    assert sorted(reports) == [f"Clear lungs {number}." for number in range(4)]


def long_name(path: Path) -> None:
    """A name that claims gigabytes, which tarfile would read whole."""
    member = entry("x", tarfile.XHDTYPE)
    member.size = 3 << 30
    path.write_bytes(gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) + bytes(100 * MB)))


def long_report(path: Path) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as made:
        member = entry("1.xml")
        member.size = 150 * MB
        made.addfile(member, io.BytesIO(bytes(150 * MB)))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("../../climbed.xml", REPORT.format(1, "Clear."))


@pytest.mark.parametrize("make", [long_name, long_report, zipped], ids=lambda make: make.__name__)
def test_an_archive_that_unpacks_without_end_or_is_none_is_one_line(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "NLMCXR_reports.tgz")
    with memory_up_to(100 * MB):
        refused(capsys, "prepare", "openi", tmp_path / "in", tmp_path / "store")
    assert not (tmp_path / "climbed.xml").exists()


def test_a_table_with_climbing_paths_reads_nothing_outside(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "good.png")
    outside = picture(tmp_path / "secret" / "secret.png", 1)
    (tmp_path / "in" / "link.png").symlink_to(outside)
    (tmp_path / "in" / "folder").symlink_to(outside.parent)
    names = ("../secret/secret.png", str(outside), "link.png", "folder/secret.png", "/dev/zero")
    rows = [{"image": name, "mask": ""} for name in ("good.png", *names)]
    rows.append({"image": "", "mask": str(outside)})
    with (tmp_path / "in" / "t.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image", "mask"])
        table.writeheader()
        table.writerows(rows)
    given = ("--table", tmp_path / "in" / "t.csv", "--size", 24, *HERE)
    assert run("prepare", "folder", tmp_path / "in", tmp_path / "store", *given) == 0
    store = open_store(tmp_path / "store")
    assert store.rows["source"].to_list() == ["good.png"]
    listed = (tmp_path / "store" / "set_aside.csv").read_text()
    assert all(Path(name).name in listed for name in names)


COLUMNS = 10**6


def million(*first: str) -> str:
    return ",".join([*first, *map(str, range(COLUMNS))])


def test_a_table_of_a_million_columns_is_read_in_bounded_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "in" / "t.csv"
    picture(tmp_path / "in" / "a.png")
    given = ("--table", table, "--size", 24, *HERE)
    table.write_text("\n".join([million("image"), million("a.png")]))
    with memory_up_to(1024 * MB):
        assert run("prepare", "folder", tmp_path / "in", tmp_path / "store", *given) == 0
    assert open_store(tmp_path / "store").rows["id"].to_list() == ["a.png"]
    table.write_text("\n".join([million("picture"), million("a.png")]))
    with memory_up_to(1024 * MB):
        line = refused(capsys, "prepare", "folder", tmp_path / "in", tmp_path / "other", *given)
    assert "neither a column 'image'" in line


@pytest.mark.parametrize(
    "endless",
    ["a" * (9 * MB), '"' + "a\n" * (5 * MB), f'"{"a" * 1000}\n",' * 9000, "a," * (5 * MB)],
    ids=["cell", "quoted cell", "quoted cells", "cells"],
)
def test_a_row_without_end_is_one_line(
    tmp_path: Path, endless: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "a.png")
    table = tmp_path / "in" / "t.csv.gz"
    table.write_bytes(gzip.compress(("image,report\n" + endless).encode(), 1))
    given = ("--table", table, "--size", 24, *HERE)
    with memory_up_to(256 * MB):
        refused(capsys, "prepare", "folder", tmp_path / "in", tmp_path / "store", *given)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp1252", "shift-jis"])
def test_tables_in_odd_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    picture(tmp_path / "in" / "a.png")
    name = "胸" if encoding == "shift-jis" else "Müller"
    (tmp_path / "in" / "t.csv").write_bytes(f"image,patient\na.png,{name}\n".encode(encoding))
    given = ("--table", tmp_path / "in" / "t.csv", "--size", 24, *HERE)
    prepare = ("prepare", "folder", tmp_path / "in", tmp_path / "store", *given)
    assert run(*prepare) == 0
    assert open_store(tmp_path / "store").rows["id"].to_list() == ["a.png"]
    assert name.encode() not in (tmp_path / "store" / "records.parquet").read_bytes()


def test_formulas_of_a_table_are_text_in_what_is_written(tmp_path: Path) -> None:
    names = ("=1+1.png", "+1.png", "-1.png", "@a.png", "\ta.png")
    for number, name in enumerate(names):
        picture(tmp_path / "in" / "good" / f"{number}.png", number)
        (tmp_path / "in" / name).write_bytes(b"no picture")
    assert run("prepare", "folder", tmp_path / "in", tmp_path / "store", "--size", 24, *HERE) == 0
    with (tmp_path / "store" / "set_aside.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert len(cells) == 2 * (1 + len(names))
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert pl.read_csv(tmp_path / "store" / "set_aside.csv").height == len(names)
