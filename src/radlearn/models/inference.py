"""Running a model over many images, with as much memory as there is."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.engine.device import Compute
from radlearn.engine.log import console
from radlearn.models.attention import choose_attention
from radlearn.records.transforms import Preprocessing, normalised


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the machine, had too little memory for what was asked."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error).lower() for sign in ("out of memory", "can't allocate memory")
    )


def in_batches(
    count: int, batch: int, run: Callable[[np.ndarray], Tensor]
) -> Float[Tensor, "count ..."]:
    """`run` on positions 0 to `count` - 1, a batch at a time, halved whenever memory runs out."""
    done: list[Tensor] = []
    start = 0
    while start < count:
        try:
            done.append(run(np.arange(start, min(start + batch, count))).float().cpu())
        except RuntimeError as error:
            if batch == 1 or not out_of_memory(error):
                raise
            batch = max(batch // 2, 1)
            console.print(f"memory ran out; going on with {batch} images at a time")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(done[-1])
    return torch.cat(done)


def logits(
    model: nn.Module,
    images: Callable[[np.ndarray], Tensor],
    count: int,
    preprocessing: Preprocessing,
    compute: Compute,
    batch: int = 64,
) -> Float[np.ndarray, "count labels"]:
    """Logits of images 0 to `count` - 1.

    Args:
        images: grey images (B, 1, S, S) in [0, 255] of some positions.
    """

    def run(positions: np.ndarray) -> Tensor:
        seen = normalised(images(positions).to(compute.device), preprocessing)
        with compute.autocast():
            choose_attention(model, compute.device)
            return model(seen)

    model.eval()
    with torch.inference_mode():
        return in_batches(count, batch, run).numpy().astype(np.float64)
