"""Running a model over many images, with as much memory as there is."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.engine.device import Compute
from radlearn.engine.log import console
from radlearn.engine.processes import of_all
from radlearn.models.attention import choose_attention
from radlearn.records.transforms import Preprocessing, normalised


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the machine, had too little memory for what was asked."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        sign in str(error).lower() for sign in ("out of memory", "can't allocate memory")
    )


def in_batches(
    count: int,
    batch: int,
    run: Callable[[np.ndarray], Tensor],
    here: Compute | None = None,
) -> Float[Tensor, "count ..."]:
    """`run` on positions 0 to `count` - 1, a batch at a time, halved whenever memory runs out.

    Args:
        here: where several processes each take some of the batches, and all are given all answers;
            None where this one does the work alone.
    """
    done: list[Tensor] = []
    start, end = 0, count
    if here is not None:
        whole = -(-count // batch)
        start, end = (
            min(batch * (whole * rank // here.world), count) for rank in (here.rank, here.rank + 1)
        )
    while start < end:
        try:
            done.append(run(np.arange(start, min(start + batch, end))).float().cpu())
        except RuntimeError as error:
            if batch == 1 or not out_of_memory(error):
                raise
            batch = max(batch // 2, 1)
            console.print(f"memory ran out; going on with {batch} images at a time")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        start += len(done[-1])
    if here is not None and here.world > 1:
        done = [one for some in of_all(here, done) for one in some]
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
        return in_batches(count, batch, run, compute).numpy().astype(np.float64)
