"""Modules put into a timm model: prompts in its blocks, small networks after its branches."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from radlearn.adapters.tuner import (
    TunerConfig,
    backbone_of,
    freeze_backbone,
    refuse,
    remember_backbone,
)
from radlearn.adapters.where import chosen
from radlearn.errors import InputError
from radlearn.models.backbone import backbone_family

MOST = 16
"""Prompts, or units of a bottleneck, by the features that a backbone ends in."""

Into = Callable[[nn.Module, TunerConfig], None]


class Stream:
    """Prompts on their way from a block to the next, within one pass of one model."""

    def __init__(self) -> None:
        self.tokens: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Stream":
        memo[id(self)] = copied = Stream()
        return copied


class Prompted(nn.Module):
    """A block that sees prompts beside its tokens (Jia et al., ECCV 2022, "Visual Prompt Tuning").

    Deep: every block has prompts of its own (eq. 7). Shallow: the first block's prompts go on
    through the others (eqs. 4 to 6). Either way the tokens that go in and out are the model's own,
    so that pooling and intermediate layers are what they were.

    Args:
        prompts: how many this block brings; 0 takes those that the block before has let out.
        last: whether no block follows.
    """

    def __init__(
        self, block: nn.Module, width: int, prompts: int, bound: float, stream: Stream, last: bool
    ) -> None:
        super().__init__()
        self.block, self.stream, self.last = block, stream, last
        device = next(block.parameters()).device
        if prompts:
            self.prompts = nn.Parameter(torch.empty(prompts, width, device=device))
            nn.init.uniform_(self.prompts, -bound, bound)

    def forward(self, x: Float[Tensor, "batch tokens width"], *args: Any, **kwargs: Any) -> Tensor:
        own = getattr(self, "prompts", None)
        prompts = self.stream.tokens if own is None else own.expand(len(x), -1, -1).to(x.dtype)
        assert prompts is not None
        seen = self.block(torch.cat([x, prompts], dim=1), *args, **kwargs)
        x, prompts = seen[:, : x.shape[1]], seen[:, x.shape[1] :]
        self.stream.tokens = None if self.last else prompts
        return x


def _blocks(backbone: nn.Module, name: str) -> nn.Sequential:
    if not isinstance(backbone, VisionTransformer) or not isinstance(
        backbone.blocks, nn.Sequential
    ):
        raise InputError(
            f"{name} puts prompts beside the tokens of a plain ViT, and "
            f"{type(backbone).__name__} has none that all blocks see; choose adapter or lora-all"
        )
    return backbone.blocks


def _prompted(backbone: nn.Module, config: TunerConfig, deep: bool) -> None:
    blocks = _blocks(backbone, config.name)
    refuse(config, "where")
    width: int = backbone.embed_dim  # type: ignore[assignment]
    patch = backbone.patch_embed.patch_size  # type: ignore[union-attr]
    bound = math.sqrt(6 / (3 * math.prod(patch) + width))  # type: ignore[arg-type]
    stream = Stream()
    for at, block in enumerate(list(blocks)):
        count = config.rank if deep or at == 0 else 0
        blocks[at] = Prompted(block, width, count, bound, stream, at == len(blocks) - 1)


def shallow(backbone: nn.Module, config: TunerConfig) -> None:
    """Prompts before the first block."""
    _prompted(backbone, config, deep=False)


def deep(backbone: nn.Module, config: TunerConfig) -> None:
    """Prompts before every block."""
    _prompted(backbone, config, deep=True)


class Bottleneck(nn.Module):
    """y + W_up GELU(W_down y), then the module it stands before (Houlsby et al., ICML 2019).

    It starts as that module alone: W_up is zero.

    Args:
        then: stochastic depth of a branch, through which its output goes.
        channels_first: whether features are (batch, channels, rows, columns).
    """

    def __init__(
        self, then: nn.Module, width: int, narrow: int, channels_first: bool, device: torch.device
    ) -> None:
        super().__init__()
        self.then, self.channels_first = then, channels_first
        self.down = nn.Linear(width, narrow, device=device)
        self.up = nn.Linear(narrow, width, device=device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, y: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        seen = y.movedim(1, -1) if self.channels_first else y
        more = self.up(nn.functional.gelu(self.down(seen)))
        return self.then(y + (more.movedim(-1, 1) if self.channels_first else more))


def bottlenecks(backbone: nn.Module, config: TunerConfig) -> None:
    """A bottleneck at the end of every attention and MLP branch, before it is added."""
    found = {
        name: module
        for name, module in backbone.named_modules()
        if name.rpartition(".")[2].startswith("drop_path") and _width(backbone, name) is not None
    }
    first = backbone_family(backbone) == "convnext"
    for name in chosen(backbone, list(found), config.where, "branches"):
        width, device = _width(backbone, name), next(backbone.parameters()).device
        assert width is not None
        made = Bottleneck(found[name], width, config.rank, first, device)
        backbone.set_submodule(name, made)


def _width(backbone: nn.Module, name: str) -> int | None:
    """Features of the branch that ends in this module: those that its block's MLP ends in."""
    last = getattr(getattr(backbone.get_submodule(name.rpartition(".")[0]), "mlp", None), "fc2", 0)
    weight = getattr(last, "weight", None)
    return None if weight is None else len(weight)


def attach(model: nn.Module, config: TunerConfig, into: Into) -> nn.Module:
    """Freeze the backbone and put modules into it, in place.

    Raises:
        InputError: the model has no head, or no place for them.
    """
    refuse(config, "options")
    backbone = backbone_of(model)
    if config.rank > MOST * backbone.num_features:  # type: ignore[operator]
        raise InputError(
            f"a rank of {config.rank} is more than {MOST} times what the backbone is wide; give "
            "--rank less"
        )
    freeze_backbone(model)
    remember_backbone(model)
    into(backbone, config)
    model.tuner = config  # type: ignore[assignment]
    return model
