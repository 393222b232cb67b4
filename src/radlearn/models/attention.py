"""Which of timm's two equal ways to compute attention is the quick one here."""

import torch
from torch import nn


def choose_attention(blocks: nn.Module, device: torch.device) -> None:
    """Use PyTorch's fused attention, but not to train in bfloat16 on a CPU.

    There its backward pass took longer than all that it saves: a step of MRM was 15 to 20 % faster
    with plain matrix products (small at 128 px, batch 32, and at 224 px, batch 8; one core).
    """
    plain = device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
    for module in blocks.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = not plain  # type: ignore[assignment]
