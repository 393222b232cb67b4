"""Where a store's files are: in a folder, or in object storage that fsspec can read.

Nothing is listed in object storage: what a store is made of is said by its checksums.json, and
every file is compared with it when it is fetched.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from radlearn.checksums import NAME as CHECKSUMS
from radlearn.checksums import Damage, digest
from radlearn.errors import InputError
from radlearn.files import is_remote, spelled
from radlearn.records.cache import Contents, user_cache

PLAIN = re.compile(r"[\w .-]+(/[\w .-]+)*", re.ASCII)
HEX = re.compile(r"[0-9a-f]{64}")
BLOCK = 1 << 23
LONGEST = 1 << 26  # bytes of a list of checksums

Out = TypeVar("Out")


class Listing(NamedTuple):
    """What a store in object storage is made of.

    Attributes:
        files: by their names inside the store.
        sha256: of checksums.json itself.
    """

    files: dict[str, Contents]
    sha256: str


_listings: dict[str, Listing] = {}


def is_there(store: Path) -> bool:
    """Whether a finished store is there."""
    if not is_remote(store):
        return (store / "store.json").exists()
    try:
        return "store.json" in listing(store).files
    except InputError:
        return False


def checksums_of(store: Path) -> str | None:
    """SHA-256 of the store's checksums.json, which tells it from any other; None without one."""
    if is_remote(store):
        return listing(store).sha256
    file = store / CHECKSUMS
    return digest(file) if file.exists() else None


def read_file(store: Path, name: str, read: Callable[[Path], Out]) -> Out:
    """What `read` makes of a file of a store; one in object storage is fetched once and kept.

    Raises:
        InputError: it cannot be fetched, or its bytes are not those of the store's checksums.
    """
    if not is_remote(store):
        return read(store / name)
    files = listing(store).files
    if name not in files:
        raise InputError(f"{spelled(store)} is damaged: its {CHECKSUMS} has no {name}")
    fetch = partial(_fetch, f"{spelled(store)}/{name}", files[name])
    return user_cache().read(files[name], fetch, read)


def listing(store: Path, fresh: bool = False) -> Listing:
    """What a store in object storage is made of; asked for once a process, or where `fresh`.

    Raises:
        InputError: there is none, it cannot be reached, or it is not what radlearn writes.
    """
    url = spelled(store)
    if fresh or url not in _listings:
        if "@" in url.split("://", 1)[1].split("/", 1)[0]:
            raise InputError(
                "a URL with a password would be written into the run: leave it out, credentials "
                "come from the environment or the machine"
            )
        _listings[url] = _listed(url)
    return _listings[url]


def remote_damage(store: Path) -> Iterator[Damage | None]:
    """Each file of a store in object storage, read there whole: None where it is what it was."""
    for name, known in listing(store, fresh=True).files.items():
        path = store / name
        sha, size = hashlib.sha256(), 0
        try:
            for block in _blocks(f"{spelled(store)}/{name}"):
                sha.update(block)
                size += len(block)
        except InputError as error:
            yield Damage(path, str(error))
            continue
        if size != known.bytes:
            yield Damage(path, f"{size:,} bytes long, not {known.bytes:,}")
        else:
            yield (
                None if sha.hexdigest() == known.sha256 else Damage(path, "its bytes have changed")
            )


def _listed(url: str) -> Listing:
    raw = b""
    for block in _blocks(f"{url}/{CHECKSUMS}"):
        raw += block
        if len(raw) > LONGEST:
            raise InputError(f"{url}/{CHECKSUMS} is no list of checksums: it is too long")
    try:
        told = json.loads(raw)
    except ValueError:
        told = None
    files = told.get("files") if isinstance(told, dict) and told.get("format") == 1 else None
    if not isinstance(files, dict):
        raise InputError(f"{url}/{CHECKSUMS} is no list of checksums; copy the store there again")
    known = {name: _contents(url, name, said) for name, said in files.items()}
    return Listing(known, hashlib.sha256(raw).hexdigest())


def _contents(url: str, name: str, said: Any) -> Contents:
    """What a stranger's list says of a file; a name that leaves the store is refused."""
    if not PLAIN.fullmatch(name) or {".", ".."} & {name, *PurePosixPath(name).parts}:
        raise InputError(f"{url}/{CHECKSUMS} names {name!r}, which is not inside the store")
    size, sha = (said.get("bytes"), said.get("sha256")) if isinstance(said, dict) else (0, 0)
    if type(size) is not int or size < 0 or type(sha) is not str or not HEX.fullmatch(sha):
        raise InputError(f"{url}/{CHECKSUMS} has no checksum of {name}; copy the store there again")
    return Contents(size, sha)


def _fetch(url: str, known: Contents, place: Path) -> None:
    sha, size = hashlib.sha256(), 0
    with place.open("wb") as file:
        for block in _blocks(url):
            size += len(block)
            if size > known.bytes:
                break
            sha.update(block)
            file.write(block)
    if size != known.bytes or sha.hexdigest() != known.sha256:
        raise InputError(
            f"{url} is damaged: its bytes are not those of the store's {CHECKSUMS}; copy the "
            "store there again"
        )


def _blocks(url: str) -> Iterator[bytes]:
    """The bytes of a file in object storage; whatever goes wrong there is one line."""
    import fsspec

    store = url.rpartition("/")[0]
    try:
        system, place = fsspec.core.url_to_fs(url)
        with system.open(place, "rb", cache_type="none") as file:
            while block := file.read(BLOCK):
                yield block
    except ImportError as error:
        needed = "pip install 'radlearn[s3]'" if url.startswith("s3:") else str(error)
        raise InputError(f"what reads {store} is not installed: {needed}") from error
    except FileNotFoundError:
        raise InputError(
            f"no finished store at {store}: there is no {url.rpartition('/')[2]}; check the bucket "
            "and the path, and copy the whole folder there"
        ) from None
    except PermissionError as error:
        raise InputError(f"access to {store} is refused ({error}); {CREDENTIALS}") from error
    except MemoryError:
        raise
    except Exception as error:  # each kind of storage has errors of its own
        why = f"{type(error).__name__}: {error}"
        if type(error).__name__ == "NoCredentialsError":
            why = f"no credentials were found; {CREDENTIALS}"
        raise InputError(f"cannot read {url}: {why}") from error


CREDENTIALS = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL where "
    "the storage is not Amazon's"
)
