"""Which device and which precision: chosen by what the machine has, one flag away from exact."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from radlearn.engine.log import console
from radlearn.engine.names import DeviceName, PrecisionName
from radlearn.errors import InputError

# Reports of every length make matrix products of every shape, and oneDNN keeps a kernel for each of
# the last 1024: gigabytes that are not used again.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: one may train a tokenizer meanwhile. Where one dies, the
launcher ends the others."""


@dataclass(frozen=True)
class Compute:
    """Where the work runs, in what precision, and which process of how many this is.

    Attributes:
        sharded: each process keeps its part of the weights that train (FSDP), not all of them.
    """

    device: torch.device
    bfloat16: bool
    rank: int = 0
    world: int = 1
    sharded: bool = False

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Matrix products in bfloat16 where that was chosen; weights and losses stay float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def put(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its tensors on the device; copies overlap where memory is pinned."""
        return {
            name: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run in hardware there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def compute(device: DeviceName = "auto", precision: PrecisionName = "auto") -> Compute:
    """Choose the device and the precision; under a launcher, join the other processes.

    Args:
        device: "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: "auto" takes bfloat16 where the hardware multiplies in it.

    Raises:
        InputError: the device asked for is not there.
    """
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not here.get(device, True):
        raise InputError(f"no {device} device was found on this machine; leave --device at auto")
    launched = "LOCAL_RANK" in os.environ
    if launched and device == "mps":
        raise InputError("several processes train on cuda or cpu, not mps; give another --device")
    alone_on_cpu = launched and not torch.cuda.is_available()
    waiting = {"timeout": PATIENCE} if launched else {}
    state = PartialState(cpu=device == "cpu" or alone_on_cpu, **waiting)
    chosen = state.device if device in ("auto", state.device.type) else torch.device(device)
    wanted = precision == "bfloat16" or (precision == "auto" and has_bfloat16(chosen))
    if state.num_processes == 1:
        return Compute(chosen, wanted)
    console.quiet = not state.is_main_process
    everywhere = torch.tensor(int(wanted), device=state.device)
    dist.all_reduce(everywhere, dist.ReduceOp.MIN)
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")
    return Compute(
        torch.device("cpu") if chosen.type == "cpu" else chosen,
        bool(everywhere),
        state.process_index,
        state.num_processes,
        sharded,
    )
