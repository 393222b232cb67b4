"""Preparing: the same store however often it was interrupted and however many cores worked."""

import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_bomb import Bomb
from made_sources import made_config, made_picture, made_records, made_source, save_picture
from PIL import Image

from radlearn.errors import InputError
from radlearn.records import prepare as preparing
from radlearn.records.decoding import Decoder, Job
from radlearn.records.prepare import prepare_source
from radlearn.records.readers import Limits
from radlearn.records.record import MaskFiles, SetAside, Source, SourceRecord, Split
from radlearn.records.settings import PrepareConfig
from radlearn.records.store import open_store

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "SHARD_SIZE", 8)


def contents(store: Path) -> dict[str, bytes]:
    """All files of a store, less what says where it was made."""
    files = {}
    for path in store.iterdir():
        if path.name not in (".lock", "patient.key", "store.json"):
            files[path.name] = path.read_bytes()
    info = json.loads((store / "store.json").read_text())
    del info["settings"]
    files["store.json"] = json.dumps(info).encode()
    return files


def key_file(folder: Path) -> Path:
    path = folder / "a.key"
    path.write_text(KEY)
    return path


def with_trouble(folder: Path) -> list[SourceRecord]:
    """Records some of which cannot be taken in."""
    records = made_records(folder, 12)
    broken = folder / "images" / "broken.png"
    broken.write_bytes(records[0].image.read_bytes()[:200])  # type: ignore[union-attr]
    other_shape = save_picture(folder / "masks" / "wide.png", made_picture(3, 20, 90))
    records[3] = replace(records[3], image=broken)
    records[6] = replace(records[6], image=folder / "images" / "missing.png")
    records[8] = replace(records[8], mask=MaskFiles((other_shape,)))
    records[20] = replace(records[20], id=records[19].id)
    records[22] = replace(records[22], image=None, report=" Report alone. ", mask=None)
    records[23] = replace(records[23], image=None, report="", mask=None)
    return records


def test_what_cannot_be_taken_in_is_set_aside_with_its_reason(
    tmp_path: Path, small_shards: None
) -> None:
    source = made_source(with_trouble(tmp_path), set_aside=[SetAside("rows.csv:7", "no file")])
    config = made_config(tmp_path, tmp_path / "store", max_bad=6)
    done = prepare_source(source, config)
    reasons = {item.path: item.reason for item in done.set_aside}
    assert reasons.keys() == {
        "rows.csv:7",
        "images/broken.png",
        "images/missing.png",
        "images/p004_0.png",
        "images/p010_0.png",
        "p011_1",
    }
    assert not reasons["images/broken.png"].startswith("broken.png")
    assert "mask is left out" in reasons["images/p004_0.png"]
    assert "met before" in reasons["images/p010_0.png"]
    assert "neither an image nor a report" in reasons["p011_1"]
    listed = pl.read_csv(tmp_path / "store" / "set_aside.csv")
    assert dict(listed.iter_rows()) == reasons
    assert done.records == 20 and done.images == 19 and not done.too_many_bad
    rows = open_store(tmp_path / "store").rows
    assert not rows.filter(id="p004_0")["has_mask"][0], "the record stays without its mask"
    assert rows.filter(id="p011_0")["shard"][0] is None
    again = prepare_source(source, replace(config, max_bad=5))
    assert again.too_many_bad and again.records == 20


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(
    workers: int, tmp_path: Path, small_shards: None
) -> None:
    records = with_trouble(tmp_path)
    config = made_config(tmp_path, tmp_path / "alone", key=key_file(tmp_path))
    prepare_source(made_source(iter(records)), config)
    prepare_source(
        made_source(iter(records)), replace(config, store=tmp_path / "pool", workers=workers)
    )
    assert contents(tmp_path / "alone") == contents(tmp_path / "pool")


def test_going_on_after_an_interruption_gives_the_same_store(
    tmp_path: Path, small_shards: None
) -> None:
    records = with_trouble(tmp_path)
    config = made_config(tmp_path, tmp_path / "whole", key=key_file(tmp_path))
    prepare_source(made_source(records), config)
    in_pieces = replace(config, store=tmp_path / "pieces")
    for stop in (3, 13, 21):

        def interrupted(stop: int = stop):
            yield from records[:stop]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare_source(made_source(interrupted()), in_pieces)
        with pytest.raises(InputError, match="not finished: run the same prepare command"):
            open_store(in_pieces.store)
    kept = {path: path.stat().st_mtime_ns for path in in_pieces.store.glob("images-*.npy")}
    assert len(kept) == 2
    done = prepare_source(made_source(records), in_pieces)
    assert done.finished_before == 2
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert contents(config.store) == contents(in_pieces.store)
    assert not list(in_pieces.store.rglob("*.part")) and not (in_pieces.store / "parts").exists()


SCRIPT = """
import pickle, sys
from pathlib import Path
from made_sources import made_config, made_source
from radlearn.records import prepare as preparing
preparing.SHARD_SIZE = 4
if __name__ == "__main__":
    folder, store = Path(sys.argv[1]), Path(sys.argv[2])
    config = made_config(folder, store, key=folder / "a.key", workers=2)
    records = pickle.loads((folder / "records.pickle").read_bytes())
    done = preparing.prepare_source(made_source(records), config)
    print(done.finished_before)
"""


def test_a_killed_command_goes_on_and_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "SHARD_SIZE", 4)
    key_file(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "records.pickle").write_bytes(pickle.dumps(made_records(tmp_path, 20)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}

    def start() -> subprocess.Popen[str]:
        store = tmp_path / "store"
        arguments = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(store)]
        return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)

    killed = start()
    finished = tmp_path / "store" / "parts" / "part-00001.json"
    deadline = time.monotonic() + 60
    while not finished.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    children = children_of(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(children) >= 2
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(child) for child in children), "workers do not outlive the command"
    again = start()
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and int(output) >= 2
    records = pickle.loads((tmp_path / "records.pickle").read_bytes())
    config = made_config(tmp_path, tmp_path / "whole", key=tmp_path / "a.key")
    preparing.prepare_source(made_source(records), config)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    if not tasks.exists():
        pytest.skip("needs /proc to see processes")
    return [int(child) for child in tasks.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_decoder_that_crashes_is_found_and_the_others_go_on(tmp_path: Path) -> None:
    images = [save_picture(tmp_path / f"{i}.png", made_picture(i)) for i in range(9)]
    images[5] = Bomb(images[5])
    jobs = [Job(i, image, None, 32, "pad", 8, Limits()) for i, image in enumerate(images)]
    with Decoder(1) as decoder:
        results = list(decoder.in_order(jobs))
    assert [result.key for result in results] == list(range(9))
    assert [result.key for result in results if result.image is None] == [5]
    assert "crashed" in (results[5].reason or "")


def test_workers_start_without_torch() -> None:
    code = "import sys, radlearn.records.decoding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_store_tells_no_folder_above_its_source_and_knows_it_again(tmp_path: Path) -> None:
    source, store = tmp_path / "Meier_Hans" / "chests", tmp_path / "store"
    save_picture(source / "a.png", made_picture(1))
    save_picture(tmp_path / "other" / "chests" / "a.png", made_picture(2))
    config = PrepareConfig("folder", source, store, size=32, workers=1)
    preparing.prepare(config)
    told = json.loads((store / "store.json").read_text())["settings"]
    assert told["source"].startswith("chests (") and "Meier" not in json.dumps(told)
    assert preparing.prepare(config).records == 1
    with pytest.raises(InputError, match=r"made with other settings \(source\)"):
        preparing.prepare(replace(config, source=tmp_path / "other" / "chests"))


def test_other_settings_do_not_go_on_with_what_was_begun(
    tmp_path: Path, small_shards: None
) -> None:
    records = made_records(tmp_path, 6)
    config = made_config(tmp_path, tmp_path / "store")

    def interrupted():
        yield from records[:9]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_source(made_source(interrupted()), config)
    with pytest.raises(InputError, match=r"begun with other settings \(size\)"):
        prepare_source(made_source(records), replace(config, size=32))
    done = prepare_source(made_source(records), replace(config, seed=5, test=0.4))
    assert done.finished_before == 1, "how splits are drawn does not concern the pictures"
    with pytest.raises(InputError, match=r"made with other settings \(seed, test\)"):
        prepare_source(made_source(records), config)


def test_a_file_that_changed_meanwhile_is_read_again(tmp_path: Path, small_shards: None) -> None:
    records = made_records(tmp_path, 6)
    config = made_config(tmp_path, tmp_path / "store")

    def interrupted():
        yield from records[:9]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_source(made_source(interrupted()), config)
    save_picture(records[2].image, made_picture(999))  # type: ignore[arg-type]
    assert prepare_source(made_source(records), config).finished_before == 0
    image = open_store(config.store).image(2)
    assert image is not None
    small = np.asarray(Image.fromarray(made_picture(999)).resize((43, 48)), np.float32)
    assert np.corrcoef(image[:, 2:45].ravel(), small.ravel())[0, 1] > 0.9


def test_no_patient_id_is_written(tmp_path: Path, small_shards: None) -> None:
    records = [
        replace(record, id=f"r{i}", report=None, mask=None, patient=f"SECRET-{record.patient}")
        for i, record in enumerate(made_records(tmp_path, 5))
    ]

    def watched():
        for record in records:
            yield record
            for path in (tmp_path / "store").rglob("*"):
                assert path.is_dir() or b"SECRET" not in path.read_bytes()

    config = made_config(tmp_path, tmp_path / "store")
    prepare_source(made_source(watched()), config)
    for path in config.store.rglob("*"):
        assert b"SECRET" not in path.read_bytes()
    assert stat.S_IMODE((config.store / "patient.key").stat().st_mode) == 0o600
    rows = open_store(config.store).rows
    assert rows["patient"].str.contains(r"^[0-9a-f]{16}$").all()
    assert rows["patient"].n_unique() == 5


def test_keys_change_the_hashes_and_nothing_else(tmp_path: Path) -> None:
    records = made_records(tmp_path, 8)
    for name in ("one", "other"):
        prepare_source(made_source(records), made_config(tmp_path, tmp_path / name))
    one, other = (open_store(tmp_path / name).rows for name in ("one", "other"))
    assert not set(one["patient"]) & set(other["patient"])
    assert one.drop("patient").equals(other.drop("patient"))
    shared = made_config(tmp_path, tmp_path / "shared", key=tmp_path / "one" / "patient.key")
    prepare_source(made_source(records), shared)
    assert open_store(shared.store).rows.equals(one)


def test_published_lists_are_kept_and_val_is_carved_from_training(tmp_path: Path) -> None:
    lists = {0: Split.TEST, 1: None}
    records = [
        replace(record, split=lists.get(int(record.id[1:4]), Split.TRAIN))
        for record in made_records(tmp_path, 12)
    ]
    config = made_config(tmp_path, tmp_path / "store", val=0.2)
    prepare_source(made_source(records), config)
    store = open_store(config.store)
    assert store.info["split_source"] == "published:made"
    splits = dict(store.rows.select("id", "split").iter_rows())
    assert splits["p000_0"] == splits["p000_1"] == "test"
    assert splits["p001_0"] is None
    assert {k: v["patients"] for k, v in store.info["splits"].items()} == {
        "train": 8,
        "val": 2,
        "test": 1,
    }
    torn = [replace(records[0], split=Split.TRAIN), *records[1:]]
    with pytest.raises(InputError, match="1 patient is in two splits"):
        prepare_source(made_source(torn), replace(config, store=tmp_path / "torn"))
    left_out = replace(config, store=tmp_path / "torn", split_conflicts="leave-out")
    prepare_source(made_source(torn), left_out)
    rows = open_store(left_out.store).rows
    assert rows.filter(pl.col("id").str.starts_with("p000"))["split"].to_list() == [None, None]


def test_only_patients_with_what_is_asked_are_held_out(tmp_path: Path) -> None:
    records = [
        record if int(record.id[1:4]) < 6 else replace(record, mask=None)
        for record in made_records(tmp_path, 20)
    ]
    config = made_config(tmp_path, tmp_path / "store", hold_out_with="mask", val=0, test=1 / 3)
    prepare_source(made_source(records), config)
    rows = open_store(config.store).rows
    test = rows.filter(split="test")
    assert test["patient"].n_unique() == 2
    assert all(int(name[1:4]) < 6 for name in test["id"])


def test_one_picture_under_two_patients_makes_them_one(tmp_path: Path) -> None:
    records = made_records(tmp_path, 10)
    with Image.open(records[0].image) as picture:  # type: ignore[arg-type]
        picture.resize((128, 144)).save(tmp_path / "images" / "copy.jpg", quality=80)
    records[7] = replace(records[7], image=tmp_path / "images" / "copy.jpg", mask=None)
    same = (frozenset({"MRN5", "MRN6", "not here"}),)
    prepare_source(made_source(records, same_patient=same), made_config(tmp_path, tmp_path / "s"))
    store = open_store(tmp_path / "s")
    patients = dict(store.rows.select("id", "patient").iter_rows())
    assert patients["p000_0"] == patients["p000_1"] == patients["p003_0"] == patients["p003_1"]
    assert patients["p005_0"] == patients["p006_0"]
    assert store.rows["patient"].n_unique() == 8
    by_patient = {entry["patient"]: entry for entry in store.info["joined_patients"]}
    assert by_patient[patients["p000_0"]]["same_pictures"] == [["p000_0", "p003_1"]]
    assert by_patient[patients["p005_0"]]["same_pictures"] == []


def test_linked_stores_share_patients_and_splits(tmp_path: Path) -> None:
    records = made_records(tmp_path, 12)
    prepare_source(made_source(records), made_config(tmp_path, tmp_path / "first", seed=1))
    first = open_store(tmp_path / "first")
    other = []
    for i, record in enumerate(records[::3]):
        with Image.open(record.image) as picture:  # type: ignore[arg-type]
            path = tmp_path / "again" / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            picture.crop((0, 4, 64, 68)).resize((200, 200)).save(path)
        other.append(SourceRecord(id=f"again{i}", patient=f"X{i}", image=path))
    other += [
        SourceRecord(
            id=f"new{i}",
            patient=f"Y{i}",
            image=save_picture(tmp_path / f"n{i}.png", made_picture(5000 + i)),
        )
        for i in range(6)
    ]
    config = made_config(
        tmp_path, tmp_path / "second", size=64, fit="crop", link=(tmp_path / "first",)
    )
    done = prepare_source(made_source(other, name="Other"), config)
    second = open_store(tmp_path / "second")
    assert second.info["split_source"] == "linked" and done.joined == 8
    theirs = {row["id"]: row for row in first.rows.iter_rows(named=True)}
    mine = {row["id"]: row for row in second.rows.iter_rows(named=True)}
    for i, record in enumerate(records[::3]):
        assert mine[f"again{i}"]["patient"] == theirs[record.id]["patient"]
        assert mine[f"again{i}"]["split"] == theirs[record.id]["split"]
    new = {mine[f"new{i}"]["patient"] for i in range(6)}
    assert len(new) == 6 and not new & {row["patient"] for row in theirs.values()}


def test_reports_alone_need_no_size_and_images_do(tmp_path: Path) -> None:
    records = made_records(tmp_path, 4)
    config = made_config(tmp_path, tmp_path / "store", size=None)
    with pytest.raises(InputError, match="give the side of the squares to store"):
        prepare_source(made_source(records), config)
    reports = [replace(record, image=None, mask=None) for record in records if record.report]
    prepare_source(made_source(reports), replace(config, size=64))
    store = open_store(config.store)
    assert store.size is None and store.info["pixel_mean"] is None
    assert not list(config.store.glob("*.npy"))


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = made_picture(1).astype(np.uint16) * 200 + 7
    image = save_picture(tmp_path / "deep.png", deep)
    record = SourceRecord(id="deep", patient="a", image=image)
    config = made_config(tmp_path, tmp_path / "store", size=72, bits=16)
    prepare_source(made_source([record]), config)
    stored = open_store(config.store).image(0)
    assert stored is not None and stored.dtype == np.uint16
    assert (
        len(np.unique(stored)) > 200
        and np.corrcoef(stored[:, 4:68].ravel(), deep.ravel())[0, 1] > 0.999
    )


def test_nothing_to_prepare(tmp_path: Path) -> None:
    config = made_config(tmp_path, tmp_path / "store")
    with pytest.raises(InputError, match="holds no records for the layout made"):
        prepare_source(made_source([]), config)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    record = SourceRecord(id="bad", patient="a", image=tmp_path / "bad.png")
    with pytest.raises(InputError, match=r"none of the 1 records .* can be taken in.*bad\.png"):
        prepare_source(made_source([record]), config)
    assert "bad.png" in (tmp_path / "store" / "set_aside.csv").read_text()
    mended = save_picture(tmp_path / "bad.png", made_picture(0))
    done = prepare_source(made_source([replace(record, image=mended)]), config)
    assert done.records == 1 and done.finished_before == 0


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a store: choose another folder"):
        prepare_source(made_source([]), made_config(tmp_path, tmp_path))


def test_two_commands_do_not_write_one_store(tmp_path: Path) -> None:
    config = made_config(tmp_path, tmp_path / "store")
    records = made_records(tmp_path, 2)

    def meanwhile():
        with pytest.raises(InputError, match="another prepare is writing"):
            prepare_source(made_source(records), config)
        yield from records

    assert prepare_source(made_source(meanwhile()), config).records == 4


@pytest.mark.parametrize(
    "change", [{"size": 4}, {"val": 0.6, "test": 0.5}, {"val": -0.1}, {"workers": -1}]
)
def test_flags_are_checked_at_the_door(change: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        made_config(tmp_path, tmp_path / "store", **change)


def test_the_command_finds_the_layout_and_checks_lists_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import radlearn.datasets.layouts

    records = made_records(tmp_path, 3)
    opened = []

    def layout(source: Path, options: object) -> Source:
        opened.append(source)
        return made_source(iter(records))

    monkeypatch.setitem(radlearn.datasets.layouts.LAYOUTS, "made", layout)
    config: PrepareConfig = made_config(tmp_path, tmp_path / "store")
    assert preparing.prepare(config).records == 6
    assert preparing.prepare(config).finished_before == 0 and opened == [tmp_path, tmp_path]
    records[0] = replace(records[0], split=Split.TRAIN)
    records[1] = replace(records[1], split=Split.TEST)
    with pytest.raises(InputError, match="in two splits"):
        preparing.prepare(replace(config, store=tmp_path / "torn"))
    assert not (tmp_path / "torn").exists()
    with pytest.raises(InputError, match=r"no layout named nonesuch; there are .*nih"):
        preparing.prepare(replace(config, layout="nonesuch"))
