"""How networks start: fixed positions and random weights as in MAE (He et al. 2022)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from radlearn.errors import InputError


def sine_cosine_positions(
    width: int, rows: int, columns: int, prefix: int
) -> Float[Tensor, "1 positions width"]:
    """Fixed 2-D positions, patches row by row after `prefix` zero rows (class token first).

    As in MAE (He et al. 2022): the first half of the width encodes the column, the second the row,
    each as sines, then cosines, of frequencies 1 / 10000^(i / (width / 4)).

    Raises:
        InputError: the width is not a multiple of 4.
    """
    if width % 4:
        raise InputError(
            f"sine-cosine positions need a width that is a multiple of 4, not {width}; "
            "choose another embed_dim"
        )
    quarter = width // 4
    frequencies = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64),
        torch.arange(columns, dtype=torch.float64),
        indexing="ij",
    )
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    table = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(prefix, width), table.float()])[None]


def start_as_mae(module: nn.Module) -> None:
    """Xavier-uniform linear layers with zero biases, unit layer norms, as MAE starts."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            nn.init.ones_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
