"""Rectangles and boxes in some axes of a grid, which extend along its other axes as tubes."""

from collections.abc import Sequence

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


def boxes(start: Tensor, side: Tensor, sizes: Sequence[int]) -> Tensor:
    """(A, B) int64 each -> (B, *sizes) bool, True inside. What reaches beyond the end is cut off."""
    inside = torch.ones(start.shape[1], *[1] * len(sizes), dtype=torch.bool)
    for axis, size in enumerate(sizes):
        shape = [1] * len(sizes)
        shape[axis] = size
        inside = inside & _spans(start[axis], side[axis], size).reshape(-1, *shape)
    return inside


def chosen_axes(over: Sequence[str], grid: Grid) -> tuple[str, ...]:
    """The axes of `over` in the order of the grid. Raises ConfigError for one that it lacks, or that is named twice."""
    if not over or len(set(over)) != len(over):
        raise ConfigError(f"over: {list(over)} must name one or more axes of the grid {grid}, each once")
    for axis in over:
        _ = grid[axis]
    return tuple(axis for axis in grid.axes if axis in over)


def as_tubes(hidden: Tensor, grid: Grid, over: Sequence[str] | None = None) -> Tensor:
    """(B, *sizes of the axes `over`), also flattened, -> (B, N): the same along all other axes. Default: the last two axes."""
    over = grid.axes[-2:] if over is None else over
    sizes = [grid[axis] if axis in over else 1 for axis in grid.axes]
    return hidden.reshape(-1, *sizes).expand(-1, *grid.sizes).reshape(len(hidden), -1)


def _spans(start: Tensor, length: Tensor | int, size: int) -> Tensor:
    """(*S,) -> (*S, size) bool."""
    places = torch.arange(size)
    first, end = start.unsqueeze(-1), (start + length).unsqueeze(-1)
    return (places >= first) & (places < end)
