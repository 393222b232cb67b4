"""Which of the equal ways to compute attention is the quick one here."""

from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import Attention
from torch import Tensor, nn


def choose_attention(blocks: nn.Module, device: torch.device) -> None:
    """Use PyTorch's fused attention, but not in bfloat16 on a CPU.

    There plain matrix products are quicker: forward by a third, and backward by more than half
    (12 heads, 197 tokens; see docs/performance.md). To train, `SparingAttention` does them.
    """
    plain = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    for module in blocks.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = not plain  # type: ignore[assignment]
            if plain and type(module) is Attention:
                module.__class__ = SparingAttention


class SparingAttention(Attention):
    """timm's own attention of a ViT, that keeps for the backward pass what goes into it, no more.

    A subclass without a constructor: `choose_attention` makes it of a module that is there. Where
    anything but plain products in bfloat16 is asked for, it is timm's.
    """

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        mine = attn_mask is None and not is_causal and not self.fused_attn and self._is_bare()
        if not (mine and torch.is_grad_enabled() and torch.is_autocast_enabled(x.device.type)):
            return super().forward(x, attn_mask, is_causal)
        fused = self.qkv(x)
        seen = fused.view(*x.shape[:2], 3, self.num_heads, self.head_dim)
        return self.proj_drop(self.proj(_Attend.apply(seen, self.scale)))

    def _is_bare(self) -> bool:
        norms = all(isinstance(p, nn.Identity) for p in (self.q_norm, self.k_norm, self.norm))
        gated = getattr(self, "gate", None) is not None
        return norms and not gated and not (self.training and self.attn_drop.p)


class _Attend(torch.autograd.Function):
    """softmax(Q K^T / sqrt(d)) V, whose shares are computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, fused: Float[Tensor, "batch tokens 3 heads features"], scale: float
    ) -> Float[Tensor, "batch tokens width"]:
        ctx.save_for_backward(fused)
        ctx.scale = scale
        query, key, value = _split(fused)
        return (_shares(query * scale, key) @ value).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (fused,) = ctx.saved_tensors
        query, key, value = _split(fused)
        query = query * ctx.scale
        shares = _shares(query, key)
        grad = grads[0].view(*fused.shape[:2], *fused.shape[3:]).transpose(1, 2)
        of_shares = grad @ value.mT
        of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        found = torch.empty_like(fused)
        of_query, of_key, of_value = _split(found)
        torch.mul(of_scores @ key, ctx.scale, out=of_query)
        of_key.copy_(of_scores.mT @ query)
        of_value.copy_(shares.mT @ grad)
        return found, None


def _split(fused: Tensor) -> tuple[Tensor, ...]:
    """Views of query, key and value: (batch, heads, tokens, features)."""
    return fused.permute(2, 0, 3, 1, 4).unbind(0)


def _shares(query: Tensor, key: Tensor) -> Float[Tensor, "batch heads tokens tokens"]:
    return (query @ key.mT).softmax(-1)
