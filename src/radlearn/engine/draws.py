"""Chance that does not depend on how a batch is shared out.

One process draws for all rows of a batch at once. So does each of several, with the same seed, and
keeps the draws of its own rows: dropout, stochastic depth and styles are then what they would be in
one process, bit by bit. The price is that each process draws for all.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Rows(NamedTuple):
    """Which of all rows are here.

    Attributes:
        whole: how many there are in all.
        own: places of those of this process.
        dims: how many sides a tensor of such rows has; empty for any number.
    """

    whole: int
    own: Int64[Tensor, "rows"]
    dims: tuple[int, ...] = ()


class Draws(TorchFunctionMode):
    """While it is entered, what is drawn for the rows of this process is cut from a draw for all.

    A tensor belongs to the kind of rows whose number its first side is; else to the first kind of
    all if its side is a multiple of that (such as the windows of pictures). For all other tensors
    chance is left as it is, the same in every process.

    Args:
        kinds: rows of different lengths, such as reports, their tokens, and those that are hidden.
    """

    def __init__(self, kinds: Sequence[Rows]) -> None:
        super().__init__()
        self.kinds = [kind for kind in kinds if len(kind.own)]

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        change = CHANGED.get(func)
        if change is None:
            return func(*args, **(kwargs or {}))
        return change(self, *args, **(kwargs or {}))

    def rows_of(self, like: Tensor) -> Rows | None:
        side = like.shape[0]
        kinds = [kind for kind in self.kinds if not kind.dims or like.ndim in kind.dims]
        for kind in kinds:
            if len(kind.own) == side:
                return kind
        if kinds and side % len(kinds[0].own) == 0:
            whole, own, _ = kinds[0]
            times = side // len(own)
            places = own[:, None] * times + torch.arange(times, device=own.device)
            return Rows(whole * times, places.flatten())
        return None

    def cut(self, like: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor | None:
        """The own rows of what `draw` makes of an empty tensor like `like` for all rows.

        None where the tensor has no such rows.
        """
        rows = self.rows_of(like) if like.ndim and like.numel() else None
        if rows is None:
            return None
        # chance fills a tensor in the order in which it lies in memory
        layout = sorted(range(like.ndim), key=lambda side: -like.stride()[side])
        shape = (rows.whole, *like.shape[1:])
        whole = torch.empty_permuted(shape, layout, dtype=like.dtype, device=like.device)
        return draw(whole)[rows.own.to(like.device)]


def _dropout(
    draws: Draws, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    keeps = None
    if training and 0 < p < 1:
        keeps = draws.cut(input.detach(), lambda whole: F.dropout(whole.fill_(1), p))
    if keeps is None:
        return F.dropout(input, p, training, inplace)
    return input * keeps


def _bernoulli(draws: Draws, self: Tensor, p: Any = 0.5, **more: Any) -> Tensor:
    own = None
    if isinstance(p, float):
        own = draws.cut(self, lambda whole: whole.bernoulli_(p, **more))
    return self.bernoulli_(p, **more) if own is None else self.copy_(own)


def _randn_like(draws: Draws, input: Tensor, **more: Any) -> Tensor:
    own = draws.cut(input.detach(), lambda whole: torch.randn_like(whole, **more))
    return torch.randn_like(input, **more) if own is None else own


def _attention(
    draws: Draws,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> Tensor:
    """With dropout, torch's plain form; see the documentation of the function."""
    attend = F.scaled_dot_product_attention
    if not dropout_p or is_causal or more.get("enable_gqa"):
        return attend(query, key, value, attn_mask, dropout_p, is_causal, **more)
    scale = (more.get("scale") or query.shape[-1] ** -0.5) ** 0.5
    scores = (query * scale) @ (key * scale).transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _dropout(draws, scores.softmax(-1), dropout_p) @ value


CHANGED: dict[Any, Callable[..., Tensor]] = {
    F.dropout: _dropout,
    Tensor.bernoulli_: _bernoulli,
    torch.randn_like: _randn_like,
    F.scaled_dot_product_attention: _attention,
}
