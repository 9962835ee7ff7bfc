"""Rectangles in the last two axes of a grid, which extend along its other axes as tubes."""

import torch
from torch import Tensor

from mae_core.interfaces import Grid
from mae_registry import ConfigError


def require_plane(grid: Grid, masker: str) -> tuple[int, int]:
    """(height, width): the sizes of the last two axes. Raises ConfigError, naming the masker, on a grid of one axis."""
    if len(grid.sizes) < 2:
        raise ConfigError(f"{masker} masking needs two axes or more; the grid {grid} has one: use {{name: random}}")
    height, width = grid.sizes[-2:]
    return height, width


def plane_axes(grid: Grid) -> frozenset[str]:
    """The last two axes."""
    return frozenset(grid.axes[-2:])


def rectangles(top: Tensor, left: Tensor, height: Tensor | int, width: Tensor | int, *, plane: tuple[int, int]) -> Tensor:
    """Integers of one shape S -> (*S, H, W) bool, True inside. What reaches beyond the plane is cut off."""
    return _spans(top, height, plane[0]).unsqueeze(-1) & _spans(left, width, plane[1]).unsqueeze(-2)


def as_tubes(hidden: Tensor, grid: Grid) -> Tensor:
    """(B, H, W), or (B, H * W) -> (B, N): the same along all other axes."""
    plane = hidden.flatten(1)
    return plane.repeat(1, grid.num_patches // plane.shape[1])


def _spans(start: Tensor, length: Tensor | int, size: int) -> Tensor:
    """(*S,) -> (*S, size) bool."""
    places = torch.arange(size)
    first, end = start.unsqueeze(-1), (start + length).unsqueeze(-1)
    return (places >= first) & (places < end)
