"""Tokenizers on any grid, for tests of parts that are told the geometry by one."""

from mae_core import Grid
from mae_core.parts.patches import PatchTokenizer


class OnePixelPatches(PatchTokenizer):
    """Every patch is one pixel of one channel, on the axes of the grid."""

    def __init__(self, grid: Grid) -> None:
        self.axes = grid.axes
        super().__init__(None, input_size=grid.sizes, patch_size=[1] * len(grid.axes), channels=1, mean=[0.0], std=[1.0])
