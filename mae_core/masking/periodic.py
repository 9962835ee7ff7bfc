"""Grid-wise masking (He et al. 2022, Figure 6 right): one position of every cell is kept."""

from typing import Annotated

import torch
from pydantic import Field

from mae_core.interfaces import Grid, Mask, Masker
from mae_registry import ConfigError


class GridMasker(Masker):
    """Keep one of every `every` positions along each axis: 2 on a 2-D grid hides 75%, as in the paper.

    Args:
        every: side of a cell, in patches. It must divide every axis, so that cells are whole; an axis shorter than it is one.

    The position kept within the cells is drawn for each sample, the same one in all its cells.
    """

    def __init__(self, *, every: Annotated[int, Field(ge=2)] = 2) -> None:
        super().__init__()
        self.every = every

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        sides = [min(self.every, size) for size in grid.sizes]
        for axis, size, side in zip(grid.axes, grid.sizes, sides, strict=True):
            if size % side:
                raise ConfigError(f"every: {self.every} does not divide axis {axis!r} of the grid {grid}{_advice(grid)}")
        if grid.num_patches == 1:
            raise ConfigError(f"the grid {grid} has a single patch, so nothing is left to hide")
        coordinates = grid.coordinates()
        kept = torch.ones(batch_size, grid.num_patches, dtype=torch.bool)
        for axis, side in enumerate(sides):
            offset = torch.randint(side, (batch_size, 1), generator=generator)
            kept &= coordinates[:, axis] % side == offset
        return Mask.from_hidden(~kept)


def _advice(grid: Grid) -> str:
    """Which values would do."""
    sides = range(2, max(grid.sizes) + 1)
    fitting = [str(side) for side in sides if all(size % min(side, size) == 0 for size in grid.sizes)]
    return f"; `every` may be {', '.join(fitting)} there" if fitting else ""
