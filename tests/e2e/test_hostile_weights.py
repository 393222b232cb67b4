"""`radlearn import` and what its weights say of themselves: refused in a line, nothing run or made.

Under every name that an import accepts, since names decide nothing.
"""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from e2e.conftest import run

NAMES = (
    *("MRM.pth", "mae_pretrain_vit_base.pth", "checkpoint.pt", "netG_A2B.pth", "weights.ckpt"),
    *("model.safetensors", "pytorch_model.bin", "best.tar", "weights"),
    *("timm/model.safetensors", "dinov2/model.safetensors", "dinov2/pytorch_model.bin"),
    "run/model/model.safetensors",
)
"""Files, and files of folders: timm's, Hugging Face's and a run's."""

TIMM = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 0,
    "model_args": {"img_size": 32, "patch_size": 16, "in_chans": 1, "depth": 1},
    "pretrained_cfg": {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.5]},
}
HUGGING_FACE = {"model_type": "dinov2", "num_attention_heads": 3, "layer_norm_eps": 1e-6}


class Trap:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "sprung")


def plain(path: Path, trap: Path) -> None:
    path.write_bytes(pickle.dumps(Trap(trap)))


def zipped(path: Path, trap: Path) -> None:
    torch.save({"model": {"cls_token": torch.zeros(1, 1, 192)}, "args": Trap(trap)}, path)


def old(path: Path, trap: Path) -> None:
    torch.save({"cls_token": Trap(trap)}, path, _use_new_zipfile_serialization=False)


def not_a_number(path: Path, trap: Path) -> None:
    save_file({"pos_embed": torch.full((1, 5, 192), torch.nan)}, path)


def wrong_types(path: Path, trap: Path) -> None:
    torch.save({"cls_token": [1, 2], "pos_embed": "here"}, path)


def huge(path: Path, trap: Path) -> None:
    claims = {"a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}
    header = json.dumps(claims).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))


KINDS: tuple[Callable[[Path, Path], None], ...] = (
    *(plain, zipped, old),
    *(not_a_number, wrong_types, huge),
)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0]
    return lines[0]


def place(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """Where the weights are, and what is given to the command."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = name.partition("/")[0]
    if folder == name:
        return path, path
    told = HUGGING_FACE if folder == "dinov2" else TIMM
    (path.parent / "config.json").write_text(json.dumps(told))
    return path, tmp_path / folder


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_hostile_weights_are_refused_under_every_name(
    tmp_path: Path, name: str, kind: Callable[[Path, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, given = place(tmp_path, name)
    kind(path, tmp_path / "sprung")
    refused(capsys, "import", given, "--out", tmp_path / "out")
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--base", "--registration"])
def test_hostile_weights_beside_good_ones_are_refused(
    tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped(tmp_path / "beside.pth", tmp_path / "sprung")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    refused(capsys, "import", tmp_path / "a.safetensors", flag, tmp_path / "beside.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "args",
    [
        {"depth": 10**9}, {"embed_dim": 3 * 10**8}, {"img_size": 10**7}, {"in_chans": 10**9},
        {"depth": 1000, "embed_dim": 60000}, {"mlp_ratio": 1e12}, {"num_heads": 0},
        {"num_heads": 10**12}, {"depth": -1}, {"embed_dim": "many"}, {"img_size": [10**6, 10**6]},
        {"num_classes": 10**9}, {"reg_tokens": 10**9}, {"pretrained": True},
        {"checkpoint_path": "/etc/passwd"}, {"norm_layer": "__import__('os')"},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_from_elsewhere_allocates_nothing(
    tmp_path: Path, args: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    told = TIMM | {"model_args": {**TIMM["model_args"], **args}}  # type: ignore[dict-item]
    (tmp_path / "model" / "config.json").write_text(json.dumps(told))
    save_file({"pos_embed": torch.zeros(1, 5, 192)}, tmp_path / "model" / "model.safetensors")
    line = refused(capsys, "import", tmp_path / "model")
    assert "root:" not in line


@pytest.mark.parametrize(
    "told",
    [
        {"model_type": "swin", "depths": [10**9], "embed_dim": 96, "num_heads": [3]},
        {"model_type": "convnext", "depths": [10**9] * 4, "hidden_sizes": [10**9] * 4},
        {"model_type": "dinov2", "num_attention_heads": 10**12},
        {"model_type": "dinov3_vit", "num_hidden_layers": 10**9, "hidden_size": 10**9},
        {"model_type": "swin", "auto_map": {"AutoModel": "evil.Model"}},
    ],
    ids=str,
)
def test_a_hugging_face_config_allocates_nothing(
    tmp_path: Path, told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(told))
    (tmp_path / "model" / "evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    save_file({"a": torch.zeros(4)}, tmp_path / "model" / "model.safetensors")
    refused(capsys, "import", tmp_path / "model")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "networks",
    [{"channels_in": 10**9}, {"side": 10**12}, {"generator": "evil"}, {"a": 1}, None, [1]],
    ids=str,
)
def test_a_translation_from_elsewhere_allocates_nothing(
    tmp_path: Path, networks: object, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    told: dict[str, object] = {"mission": "translation", "mode": "nc"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(told))
    (tmp_path / "run" / "results.json").write_text("{}")
    config = told | {"networks": networks, "patch": None}
    (tmp_path / "run" / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "exam").mkdir()
    refused(capsys, "predict", tmp_path / "run", tmp_path / "exam", "--out", tmp_path / "out")
