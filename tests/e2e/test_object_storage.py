"""Stores in a real S3-compatible server: the local pixels and weights, and nothing hostile."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2e.conftest import run
from radlearn.checksums import NAME as CHECKSUMS
from radlearn.errors import InputError
from radlearn.files import read_json, write_json
from radlearn.records import cache as caching
from radlearn.records.pair_store import open_pairs
from radlearn.records.storage import listing, read_file
from radlearn.records.store import open_store

moto = pytest.importorskip("moto.server", reason="needs moto[server] and s3fs")
pytest.importorskip("s3fs", reason="needs s3fs: pip install 'radlearn[s3]'")
STORE = Path("s3://hospital/stores/phantoms")


@pytest.fixture(scope="module")
def bucket(lab: Path) -> Iterator[Any]:
    """The bucket `hospital` with the lab's store and its store of pairs."""
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        made = boto3.resource("s3").create_bucket(Bucket="hospital")
        for name, place in (("store", "stores/phantoms"), ("pairs", "stores/heads")):
            upload(made, lab / name, place)
        yield made
    server.stop()


def upload(bucket: Any, folder: Path, place: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".key":
            bucket.upload_file(str(path), f"{place}/{path.relative_to(folder).as_posix()}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what is fetched is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "radlearn" / "stores"


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_file()]


def test_a_store_read_through_s3_is_the_local_one(bucket: Any, lab: Path, cache: Path) -> None:
    here, there = open_store(lab / "store"), open_store(STORE)
    assert there.rows.equals(here.rows) and there.info == here.info
    assert not any(path.stat().st_size > 100_000 for path in kept(cache)), "no pixels yet"
    for row in range(here.rows.height):
        for mine, theirs in (
            (here.image(row), there.image(row)),
            (here.mask(row), there.mask(row)),
        ):
            np.testing.assert_array_equal(mine, theirs)
    assert cache.stat().st_mode & 0o077 == 0, "patients' images are nobody else's"


def test_pairs_read_through_s3_are_the_local_ones(bucket: Any, lab: Path) -> None:
    here, there = open_pairs(lab / "pairs"), open_pairs(Path("s3://hospital/stores/heads"))
    assert there.rows.equals(here.rows) and here.rows.height
    for row in range(here.rows.height):
        np.testing.assert_array_equal(here.source(row), there.source(row))
        np.testing.assert_array_equal(here.target(row), there.target(row))


def test_a_run_over_s3_learns_the_local_weights(bucket: Any, lab: Path, tmp_path: Path) -> None:
    flags = ("--init", lab / "backbone", "--steps", 6, "--batch", 8, "--evaluations", 2)
    tuned = tmp_path / "lora"
    url = "s3://hospital/stores/phantoms"
    assert run("finetune", url, "--run", tuned, "--tuner", "lora", *flags, "--workers", 1) == 0
    names = ("model/adapter/adapter_model.safetensors", "metrics.jsonl", "predictions.parquet")
    for name in names:
        assert (tuned / name).read_bytes() == (lab / "lora" / name).read_bytes(), name
    config, local = (read_json(place / "config.json", "a run") for place in (tuned, lab / "lora"))
    assert config["stores"] == [url]
    assert config["stores_sha256"] == local["stores_sha256"]
    assert config["fingerprints"] == local["fingerprints"]
    assert run("evaluate", tuned, "--groups", "sex", "--resamples", 20) == 0
    assert run("verify", tuned, "--rows", 1) == 0


def test_check_reads_every_file_there(
    bucket: Any, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "s3://hospital/stores/phantoms") == 0
    assert "s3://hospital/stores/phantoms: " in capsys.readouterr().err
    upload(bucket, lab / "store", "stores/damaged")
    bucket.Object("stores/damaged/records.parquet").put(Body=b"other bytes")
    assert run("check", "s3://hospital/stores/damaged") == 1
    assert "s3://hospital/stores/damaged/records.parquet: 11 bytes" in capsys.readouterr().err
    assert run("finetune", "s3://hospital/stores/damaged", "--run", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "records.parquet is damaged" in said and len(said.strip().splitlines()) == 1


def test_what_was_fetched_is_not_fetched_again(
    bucket: Any, lab: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = listing(STORE, fresh=True).files
    name = max(files, key=lambda name: files[name].bytes)
    read_file(STORE, name, Path.read_bytes)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert read_file(STORE, name, Path.read_bytes) == (lab / "store" / name).read_bytes()


def test_the_cache_keeps_to_its_limit_and_to_what_is_read(
    bucket: Any, lab: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = listing(STORE, fresh=True).files
    small, large = sorted(files, key=lambda name: files[name].bytes)[:: len(files) - 1]
    monkeypatch.setenv(caching.LIMIT, str((files[large].bytes + 1) / 1e9))
    mapped = read_file(STORE, large, lambda path: np.memmap(path, np.uint8, "r"))
    whole = (lab / "store" / large).read_bytes()
    for name in files:
        read_file(STORE, name, Path.read_bytes)
        assert sum(path.stat().st_size for path in kept(cache)) <= files[large].bytes + 1
        assert (cache / files[name].sha256).exists(), "what was read last stays"
    assert bytes(mapped) == whole, "what is mapped stays readable when it is thrown out"
    assert small != large
    monkeypatch.setenv(caching.LIMIT, "much")
    with pytest.raises(InputError, match="RADLEARN_CACHE_GB=much"):
        read_file(STORE, small, Path.read_bytes)


def test_a_file_that_was_cut_short_is_fetched_anew(bucket: Any, lab: Path, cache: Path) -> None:
    files = listing(STORE, fresh=True).files
    part = cache / f".{files['store.json'].sha256}.1.part"
    cache.mkdir(parents=True)
    part.write_bytes(b"{")  # of a process that was killed
    os.utime(part, (1, 1))
    (cache / files["store.json"].sha256).write_bytes(b"{")
    read = read_file(STORE, "store.json", Path.read_bytes)
    assert read == (lab / "store" / "store.json").read_bytes()
    assert not part.exists()


@pytest.mark.parametrize(
    "name", ["../out.npy", "/etc/passwd", "a/../../b", "a\\..\\b", "a::file:///etc/passwd", ".."]
)
def test_a_hostile_list_of_files_cannot_climb_out(
    name: str, bucket: Any, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((lab / "store" / CHECKSUMS).read_text())
    told["files"][name] = {"bytes": 3, "sha256": "0" * 64}
    bucket.Object(f"hostile/{CHECKSUMS}").put(Body=json.dumps(told))
    for command in (("check",), ("finetune", "--run", tmp_path / "run")):
        assert run(*command, "s3://hospital/hostile") == 2
        assert "not inside the store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "hostile"),
    [
        (b"no json", "no list of checksums"),
        (b"[]", "no list of checksums"),
        (b'{"format": 1, "files": {"store.json": {"bytes": 3, "sha256": "../x"}}}', "no checksum"),
        (b'{"format": 1, "files": {"store.json": {"bytes": -1, "sha256": ""}}}', "no checksum"),
        (b'{"format": 1, "files": {}}', "has no store.json"),
        (
            b'{"format": 1, "files": {"store.json": {"bytes": 9000000000000000, "sha256": "%s"}}}'
            % (b"0" * 64),
            "has room for",
        ),
    ],
)
def test_a_list_that_is_none_is_refused(said: bytes, hostile: str, bucket: Any) -> None:
    bucket.Object(f"odd/{CHECKSUMS}").put(Body=said)
    with pytest.raises(InputError, match=hostile):
        open_store(Path("s3://hospital/odd"))


def test_errors_are_one_line_that_says_what_to_do(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import s3fs
    from fsspec.registry import _registry

    def said(url: str) -> str:
        s3fs.S3FileSystem.clear_instance_cache()
        capsys.readouterr()
        assert run("finetune", url, "--run", tmp_path / "run") == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    assert "no finished store at s3://hospital/none" in said("s3://hospital/none")
    assert "check the bucket" in said("s3://nobody/none")
    assert "a password" in said("s3://key:secret@hospital/none")
    assert "holds pairs of scans" in said("s3://hospital/stores/heads")
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        assert "no credentials" in said("s3://hospital/stores/phantoms")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(_registry, "s3", raising=False)
        assert "pip install 'radlearn[s3]'" in said("s3://hospital/stores/phantoms")


def test_a_store_that_was_made_anew_there_is_told_from_the_one_before(
    bucket: Any, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(bucket, lab / "store", "stores/anew")
    flags = ("--init", lab / "backbone", "--steps", 2, "--batch", 4, "--evaluations", 1)
    command = ("finetune", "s3://hospital/stores/anew", "--run", tmp_path / "run", *flags)
    assert run(*command) == 0
    other = tmp_path / "other"
    shutil.copytree(lab / "store", other)
    sums = read_json(other / CHECKSUMS, "a store")
    write_json(other / CHECKSUMS, sums | {"made": "anew"})
    upload(bucket, other, "stores/anew")
    assert run(*command) == 2
    assert "prepared anew" in capsys.readouterr().err
