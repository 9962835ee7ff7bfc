"""Position embeddings of any grid."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Positions
from mae_registry import MaeError

Leading = Literal["last_axis", "first_axis"]


def sincos_table(grid: Grid, width: int, *, leading: Leading = "last_axis") -> Tensor:
    """Fixed sine-cosine positions, (N, width) float32, computed in float64.

    The axes share the width: each gets as many columns, the `leading` axis first (for images the last axis, the column, as the
    published MAE; MultiMAE the row). Within an axis the first half are sines, the second cosines, of frequencies
    10000^(-i / (columns / 2)). A width that the axes cannot share evenly is rounded up to even parts and cut at the end.
    """
    num_axes = len(grid.sizes)
    per_axis = 2 * math.ceil(width / (2 * num_axes))
    omega = 10000.0 ** (-torch.arange(per_axis // 2, dtype=torch.float64) / (per_axis / 2))
    coordinates = grid.coordinates().flip(1) if leading == "last_axis" else grid.coordinates()
    angles = coordinates.to(torch.float64)[:, :, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].float()


class SinCos(Positions):
    """Fixed sine-cosine positions; see `sincos_table`.

    Args:
        leading: the axis that the first columns of the table encode. "last_axis" is the published MAE.
    """

    table: Tensor

    def __init__(self, grid: Grid, width: int, *, leading: Leading = "last_axis") -> None:
        super().__init__()
        self.register_buffer("table", sincos_table(grid, width, leading=leading), persistent=False)

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]


class Learned(Positions):
    """One learned vector a patch, initialised from a normal distribution of standard deviation 0.02.

    Args:
        class_token: learn one for the class token too, as the published fine-tuning does.
    """

    def __init__(self, grid: Grid, width: int, *, class_token: bool = False) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(grid.num_patches, width))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.class_row = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02)) if class_token else None

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]

    def class_position(self) -> Tensor | None:
        """(1, 1, D), where there is one."""
        return self.class_row


class NoPositions(Positions):
    """Tokens do not know where they lie."""

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (1, 1, 1) of zeros."""
        return torch.zeros(1, 1, 1, device=ids.device)


class Resized(Positions):
    """The positions of one grid at the patches of another one with the same axes, interpolated as by `resize_table`.

    They are computed anew at each call, so that positions which are learned go on learning. Those that depend on a sample's
    extras cannot be resized.
    """

    def __init__(self, own: Positions, old: Grid, new: Grid) -> None:
        super().__init__()
        self.own, self.old, self.new = own, old, new

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D), or (1, 1, D) where all patches have one position. Raises MaeError for what has no table."""
        values = self.own(torch.arange(self.old.num_patches, device=ids.device).unsqueeze(0), extras)
        if values.shape[1] == 1 and self.old.num_patches > 1:
            return values
        if len(values) != 1:
            raise MaeError(f"{type(self.own).__name__} depend on more than the grid, and cannot be resized for {self.new}")
        return resize_table(values[0], self.old, self.new)[ids]

    def class_position(self) -> Tensor | None:
        """(1, 1, D), where there is one."""
        return self.own.class_position()


def resize_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Positions of one grid, (N, D), at the patches of another one with the same axes, (M, D).

    Cubic along each axis whose size differs, one after the other, which for two axes is bicubic, as published (Touvron et al.
    2021): the corners of the grids lie upon each other, and coefficients are torch's (a = -0.75, no antialiasing).
    """
    values = table.unflatten(0, old.sizes)
    for axis, size in enumerate(new.sizes):
        if values.shape[axis] != size:
            lines = values.movedim(axis, -1)
            flat = lines.reshape(1, -1, 1, lines.shape[-1]).float()
            resized = F.interpolate(flat, size=(1, size), mode="bicubic", align_corners=False)
            values = resized.reshape(*lines.shape[:-1], size).movedim(-1, axis)
    return values.flatten(0, len(new.sizes) - 1).to(table.dtype)
