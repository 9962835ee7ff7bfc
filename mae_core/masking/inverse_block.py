"""Inverse block masking of data2vec 2.0 (Baevski et al. 2023, section 3.3): what is kept are blocks, not what is hidden."""

from typing import Annotated

import torch
from pydantic import Field

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.interfaces.numbers import Positive
from mae_core.masking.counts import Ratio, count_kept, require_both, with_count
from mae_core.masking.rectangles import as_tubes, plane_axes, rectangles, require_plane


class InverseBlockMasker(Masker):
    """Squares around random patches are kept; single random patches are then kept too, or hidden, until the count is exact.

    Args:
        ratio: share of patches hidden; the kept count is truncated: 39 of 196 at 0.8.
        size: side of a square, in patches.
        extra: share of the patches that the squares cover beyond those to be kept, counted without overlap, as they do overlap
            and are cut off at the border. At 0.8, 0.07 and size 3 there are int(196 * 0.27 / 9) = 5 squares on 14 x 14.

    Two squares may have the same centre. On a grid of more than two axes they lie in the last two and extend along the others,
    as tubes.
    """

    def __init__(
        self,
        *,
        ratio: Ratio,
        size: Positive = 3,
        extra: Annotated[float, Field(ge=0)] = 0.07,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.size = size
        self.extra = extra

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        height, width = require_plane(grid, "inverse_block")
        num_positions = height * width
        num_keep = count_kept(num_positions, self.ratio, "kept")
        require_both(num_keep, num_positions, self.ratio, grid)
        num_squares = int(num_positions * ((1 - self.ratio + self.extra) / self.size**2))
        centre = torch.randint(num_positions, (batch_size, num_squares), generator=generator)
        top, left = centre // width - self.size // 2, centre % width - self.size // 2
        kept = rectangles(top, left, self.size, self.size, plane=(height, width)).any(dim=1).flatten(1)
        kept = with_count(kept, num_keep, generator)
        return Mask.from_hidden(as_tubes(~kept, grid))

    def axes(self, grid: Grid) -> frozenset[str]:
        """The last two."""
        return plane_axes(grid)
