"""Position embeddings of any grid."""

import math

import torch
from torch import Tensor, nn

from mae_core.interfaces import Grid, Positions


def sincos_table(grid: Grid, width: int) -> Tensor:
    """Fixed sine-cosine positions, (N, width) float32, computed in float64.

    The axes share the width: each gets as many columns, the fastest axis first (for images the column before the row, as the
    published MAE). Within an axis the first half are sines, the second cosines, of frequencies 10000^(-i / (columns / 2)).
    A width that the axes cannot share evenly is rounded up to even parts and cut at the end.
    """
    num_axes = len(grid.sizes)
    per_axis = 2 * math.ceil(width / (2 * num_axes))
    omega = 10000.0 ** (-torch.arange(per_axis // 2, dtype=torch.float64) / (per_axis / 2))
    angles = grid.coordinates().flip(1).to(torch.float64)[:, :, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].float()


class SinCos(Positions):
    """Fixed sine-cosine positions of the published MAE; see `sincos_table`."""

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sincos_table(grid, width), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]


class Learned(Positions):
    """One learned vector a patch, initialised from a normal distribution of standard deviation 0.02."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(grid.num_patches, width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]


class NoPositions(Positions):
    """Tokens do not know where they lie."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()

    def forward(self, ids: Tensor) -> Tensor:
        """(B, K) -> (1, 1, 1) of zeros."""
        return torch.zeros(1, 1, 1, device=ids.device)
