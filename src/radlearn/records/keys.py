"""The key of a store: what stands between the patients' ids and whoever reads the store."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from radlearn.errors import InputError

KEY_FILE = "patient.key"
LEAST_BYTES = 16


def store_key(store: Path, given: bytes | None) -> bytes:
    """The key of a store: the given one, or the one it has, or a new one; kept with mode 0600."""
    path = store / KEY_FILE
    if path.exists():
        kept = read_key(path)
        if given is None or given == kept:
            return kept
        path.unlink()
    return new_key(path, given)


def new_key(path: Path, given: bytes | None = None) -> bytes:
    """Write a key, the given one or one made here, where none is; only its owner can read it."""
    key = given or secrets.token_hex(32).encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key + b"\n")
        file.flush()
        os.fsync(descriptor)
    return key


def hashed(key: bytes, patient: str) -> str:
    """A patient id as stores hold it: 16 hex digits of an HMAC-SHA-256."""
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16]


def read_key(path: Path) -> bytes:
    """A key from its file.

    Raises:
        InputError: it cannot be read or is too short.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"cannot read the key {path}: {error.strerror}; give a store's {KEY_FILE}"
        ) from None
    if len(key) < LEAST_BYTES:
        raise InputError(
            f"the key {path} has {len(key)} bytes, fewer than {LEAST_BYTES}; "
            f"give a store's {KEY_FILE}"
        )
    return key
