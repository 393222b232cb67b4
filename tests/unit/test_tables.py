"""Tables and places: odd cells, odd files, and names that try to climb out."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radlearn.datasets import tables
from radlearn.datasets.lists import read_list
from radlearn.datasets.places import inside, tails, walk
from radlearn.datasets.tables import age_of, label_of, open_table, sex_of, view_of
from radlearn.errors import InputError, UnreadableError
from radlearn.records.record import View


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("63", 63), ("63.0", 63), ("063Y", 63), ("18M", 1.5), ("90+", 90), (">89", 89),
        ("414", None), ("x", None), ("", None), ("-3", None),
    ],
)  # fmt: skip
def test_ages(text: str, age: float | None) -> None:
    assert age_of(text) == age


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", View.FRONTAL), ("AP Supine", View.FRONTAL), ("Frontal", View.FRONTAL),
        ("L", View.LATERAL), ("LL", View.LATERAL), ("LATERAL", View.LATERAL),
        ("Axial", View.UNKNOWN), ("PA LLD", View.UNKNOWN), ("", View.UNKNOWN),
    ],
)  # fmt: skip
def test_views(text: str, view: View) -> None:
    assert view_of(text) == view


def test_labels_and_sexes() -> None:
    assert [label_of(t) for t in ("1.0", "0", "-1.0", "", "NaN", "TRUE")] == [
        1,
        0,
        -1,
        None,
        None,
        1,
    ]
    assert [sex_of(t) for t in ("Female", "m", "w", "O", "")] == ["F", "M", "F", None, None]
    with pytest.raises(ValueError, match="is not 0, 1 or -1"):
        label_of("11")


def test_a_table_of_semicolons_short_rows_and_windows_letters(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("Nr; Name ;Alter\r\n1;Müller\r\n\r\n;;\r\n2; Œuvre ;3;4\r\n".encode("cp1252"))
    assert list(open_table(path)) == [
        {"Nr": "1", "Name": "Müller", "Alter": ""},
        {"Nr": "2", "Name": "Œuvre", "Alter": "3"},
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    try:
        rows = list(open_table(path))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(value, str) for row in rows for value in row.values())


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LINE_LIMIT", 100)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "x" * 1000)
    with pytest.raises(InputError, match="a line of more than 100"):
        list(open_table(path))


def test_the_error_for_a_missing_column_does_not_list_a_million(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(5000)) + "\n")
    with pytest.raises(InputError, match="and 4980 more") as error:
        open_table(path, required=("image",))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "/etc/hostname", "a/../../secret.txt", "..\\secret.txt", "link.txt",
     "linked/secret.txt", "", ".", "a", "a\x00b", "x" * 5000, "~/x"],
)  # fmt: skip
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (root / "link.txt").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    with pytest.raises(UnreadableError):
        inside(root, name)


def test_names_that_stay_inside_are_found(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a/b.txt").write_text("")
    (root / "link.txt").symlink_to(root / "a/b.txt")
    (tmp_path / "alias").symlink_to(root)
    for name in ("a/b.txt", "a\\b.txt", "./a/../a/b.txt", "link.txt", str(root / "a/b.txt")):
        assert inside(root, name) == root / "a/b.txt"
    assert inside(tmp_path / "alias", "a/b.txt") == tmp_path / "alias/a/b.txt"


def test_walking_stays_inside_and_leaves_rubbish_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("b/2.png", "b/1.png", "a.png", ".git/x.png", "__MACOSX/y.png", "Thumbs.db"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (tmp_path / "out.png").write_text("")
    (root / "out.png").symlink_to(tmp_path / "out.png")
    noted: list = []
    found = [str(p.relative_to(root)) for p in walk(root, noted)]
    assert found == ["a.png", "b/1.png", "b/2.png"]
    assert [n.path for n in noted] == ["out.png"]


def test_prefixes_fall_away_until_the_least_is_left() -> None:
    assert tails("x/train/p/s/v.jpg", 3) == ["x/train/p/s/v.jpg", "train/p/s/v.jpg", "p/s/v.jpg"]
    assert tails("v.jpg", 3) == ["v.jpg"]


def test_a_list_line_is_a_path_and_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a b.png 0 1 \n\ng 2.dcm 11\nplain.png\n")
    assert [(line.number, line.path, line.labels) for line in read_list(path)] == [
        (1, "a b.png", ("0", "1")),
        (3, "g 2.dcm", ("11",)),
        (4, "plain.png", ()),
    ]
