"""A stranger's file of weights, opened so that nothing in it runs: plain tensors by their names."""

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radlearn.errors import InputError
from radlearn.models.weights import read_safetensors

WRAPPED = ("model", "state_dict", "model_state_dict")
"""Keys under which training scripts put a model's state beside epochs and optimisers."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
COUNTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds, checked: every tensor dense, finite and as large as it says.

    Attributes:
        tensors: of floating point, by name.
        counters: of whole numbers, such as position numbers.
        settings: what stood beside the weights, such as "args"; not to be trusted.
        notes: what was changed in reading, to be said.
    """

    tensors: dict[str, Tensor]
    counters: dict[str, Tensor]
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def open_weights(path: Path) -> WeightsFile:
    """Read a safetensors or torch file; which of the two, its first bytes say.

    Raises:
        InputError: it cannot be read, holds more than weights, or a tensor is not what it should
            be; the message names it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    # a safetensors file starts with the length of its JSON header, in 8 bytes
    if start[8:] == b"{":
        return _checked(path, read_safetensors(path), {})
    whole = _unpickled(path)
    key = next((k for k in WRAPPED if k in whole), None)
    if key is not None:
        return _checked(path, whole[key], {k: v for k, v in whole.items() if k != key})
    if whole and all(isinstance(k, str) and isinstance(v, Mapping) for k, v in whole.items()):
        # several networks by their names
        whole = {f"{name}.{k}": v for name, part in whole.items() for k, v in part.items()}
    return _checked(path, whole, {})


def _unpickled(path: Path) -> dict[str, Any]:
    """A torch file's dict, reading nothing but tensors, numbers, text and argparse's settings."""
    try:
        _check_size(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # what torch remarks about strange files is said by the errors below
            warnings.simplefilter("ignore")
            whole = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than weights, or is damaged, and was not opened further; save its "
            "state_dict alone, with torch.save or safetensors"
        ) from error
    except Exception as error:  # a damaged file may fail in any way inside of the reader
        raise InputError(
            f"{path} is not a readable file of weights ({type(error).__name__}); get it again"
        ) from error
    if not isinstance(whole, dict):
        raise InputError(f"{path} holds a {type(whole).__name__}, not a state_dict of weights")
    return whole


def _check_size(path: Path) -> None:
    """Torch never compresses: an archive that claims more than the file has is a trap."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > (size := path.stat().st_size):
        raise InputError(
            f"{path} has {size:,} bytes and claims to unpack to {claimed:,}; it was not opened: "
            "torch saves weights uncompressed"
        )


def _checked(path: Path, state: Any, settings: Mapping[str, Any]) -> WeightsFile:
    if not isinstance(state, Mapping) or not all(isinstance(k, str) for k in state):
        raise InputError(f"{path} does not hold a state_dict: tensors by their names")
    for name, value in state.items():
        _check_tensor(path, name, value)
    notes = []
    while found := [p for p in PREFIXES if state and all(n.startswith(p) for n in state)]:
        notes.append(f"every name began with {found[0]}, which was taken off")
        state = {name.removeprefix(found[0]): value for name, value in state.items()}
    tensors = {name: value for name, value in state.items() if value.is_floating_point()}
    if odd := sorted({str(v.dtype).removeprefix("torch.") for v in tensors.values()} - {"float32"}):
        notes.append(f"weights of {' and '.join(odd)} are computed with as float32")
    counters = {name: value for name, value in state.items() if name not in tensors}
    return WeightsFile(tensors, counters, settings, tuple(notes))


def _check_tensor(path: Path, name: str, value: Any) -> None:
    dense = isinstance(value, Tensor) and value.layout == torch.strided
    if not dense or value.is_quantized or value.is_meta:
        raise InputError(
            f"{path} has {name} as {type(value).__name__} where a dense tensor should be; "
            "save the model's state_dict alone"
        )
    if value.dtype not in (*FLOATS, *COUNTS):
        raise InputError(
            f"{path} has {name} as {value.dtype}, which no network here is made of; save it as "
            "float32"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InputError(
            f"{path} has {name} of shape {tuple(value.shape)} with fewer numbers than that; save "
            "the model's state_dict as it is, without views"
        )
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise InputError(f"{path} has NaN or infinite values in {name}; get the weights again")
