"""The pool of earlier fakes: what a critic is shown so that it does not forget."""

import torch
from jaxtyping import Float
from torch import Tensor

from radlearn.engine.device import Compute
from radlearn.engine.processes import of_all
from radlearn.records.batches import Batch


def pooled(
    pool: list[Tensor], fakes: Float[Tensor, "batch channels *space"], size: int
) -> tuple[Float[Tensor, "batch channels *space"], list[Tensor]]:
    """What to show for each fake: itself, or one of the last ones in whose place it then stays.

    Until `size` fakes are there each is kept and shown; then every other one, by chance, is
    exchanged (Shrivastava et al., CVPR 2017, section 2.3, as CycleGAN has it). The chance is
    torch's, which the training loop seeds with the step.

    Args:
        size: 1 or more.

    Returns:
        The fakes to show, and the pool as it is then; the pool that was given is not changed.
    """
    pool, shown = list(pool), []
    for fake in fakes.detach():
        if len(pool) < size:
            pool.append(fake.clone())
            shown.append(fake)
            continue
        exchange, place = bool(torch.rand(()) < 0.5), int(torch.randint(size, ()))
        if exchange:
            shown.append(pool[place].to(fake))
            pool[place] = fake.clone()
        else:
            shown.append(fake)
    return torch.stack(shown), pool


def pooled_by_all(
    pool: list[Tensor],
    fakes: Float[Tensor, "batch channels *space"],
    size: int,
    batch: Batch,
    here: Compute | None,
) -> tuple[Float[Tensor, "batch channels *space"], list[Tensor]]:
    """`pooled` of the fakes of all processes, of which each keeps what is shown for its own.

    So the pool is the same everywhere: that of one process.
    """
    if here is None or here.world == 1:
        return pooled(pool, fakes, size)
    rows = batch["rows"].cpu()
    real = rows >= 0
    whole = torch.empty(batch["whole"], *fakes.shape[1:], dtype=fakes.dtype)
    for own, some in of_all(here, (rows[real], fakes.detach().cpu()[real])):
        whole[own] = some
    shown, pool = pooled(pool, whole.to(fakes), size)
    return shown[rows.clamp(min=0).to(shown.device)], pool
