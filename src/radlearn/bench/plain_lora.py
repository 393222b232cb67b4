"""LoRA in its plain form: beside the layer, its query and value put into zeros of full width."""

import torch.nn.functional as F
from torch import Tensor, nn

from radlearn.adapters.peft import QVLoRA


class PlainLoRA(nn.Module):
    """The same output as the `QVLoRA` it is made from, whose weights it takes.

    As loralib's fused layer, which MED-PEFT's code uses: a grouped convolution for B, then zeros
    into which the rows of query and value are written.
    """

    def __init__(self, of: QVLoRA) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias
        self.lora_A, self.lora_B = of.lora_A, of.lora_B
        self.dropout, self.scale = of.dropout, of.scale

    def forward(self, x: Tensor) -> Tensor:
        out = F.linear(x, self.weight, self.bias)
        low = F.linear(self.dropout(x), self.lora_A).transpose(-2, -1)
        high = F.conv1d(low, self.lora_B[:, :, None], groups=2).transpose(-2, -1)
        update = out.new_zeros(out.shape)
        query, value = high.chunk(2, dim=-1)
        width = query.shape[-1]
        update[..., :width] = query
        update[..., 2 * width :] = value
        return out + update * self.scale


def make_plain(model: nn.Module) -> nn.Module:
    """Put the plain form in place of every LoRA of `model`."""
    for name, module in list(model.named_modules()):
        if isinstance(module, QVLoRA):
            model.set_submodule(name, PlainLoRA(module))
    return model
