"""Positions of the published video systems: VideoMAE's fixed one-dimensional ones, MAE-ST's learned separable ones."""

import math

import torch
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Positions


class FlatSinCos(Positions):
    """Fixed sine-cosine positions of a patch's raster number, blind to the grid's axes (VideoMAE).

    Sines in even columns, cosines in odd ones: column j has the frequency 10000^(-2 (j // 2) / width).
    """

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        columns = torch.arange(width)
        omega = 10000.0 ** (-2 * (columns // 2).to(torch.float64) / width)
        angles = torch.arange(grid.num_patches, dtype=torch.float64)[:, None] * omega
        table = torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()
        self.register_buffer("table", table, persistent=False)

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]


class Separable(Positions):
    """One learned vector a place of the slowest axis (time) plus one a place of the others (space), and one of the class
    token (MAE-ST). Initialised from a normal distribution of standard deviation 0.02.
    """

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        num_times, *sides = grid.sizes
        self.num_places = math.prod(sides)
        self.temporal = nn.Parameter(torch.empty(1, num_times, width))
        self.spatial = nn.Parameter(torch.empty(1, self.num_places, width))
        self.of_class_token = nn.Parameter(torch.empty(1, 1, width))
        for table in (self.temporal, self.spatial, self.of_class_token):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.spatial[0, ids % self.num_places] + self.temporal[0, ids // self.num_places]

    def class_position(self) -> Tensor:
        """(1, 1, D)."""
        return self.of_class_token
