"""Block-wise masking of BEiT (Bao et al. 2022, Algorithm 1)."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.interfaces.numbers import Positive
from mae_core.masking.counts import Ratio, require_both, with_count
from mae_core.masking.rectangles import as_tubes, plane_axes, rectangles, require_plane

MAX_TRIES = 10
"""Rectangles drawn in a row without one that fits, after which a sample is finished."""


class BlockMasker(Masker):
    """Rectangles of random size and aspect are hidden until `ratio` of the patches is.

    Args:
        ratio: share of patches hidden, truncated to a whole number of patches.
        min_patches: smallest area that a rectangle is drawn for.
        min_aspect: aspect ratios are log-uniform between this and its inverse.
        exact: repair the count with single random patches, so that every sample hides equally many (BEiT v2). The original's
            count varies (v1), which only an encoder over all tokens takes.

    On a grid of more than two axes the rectangles lie in the last two and extend along the others, as tubes.
    """

    def __init__(
        self,
        *,
        ratio: Ratio,
        min_patches: Positive = 16,
        min_aspect: Annotated[float, Field(gt=0, le=1)] = 0.3,
        exact: bool = True,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.min_patches = min_patches
        self.min_aspect = min_aspect
        self.exact = exact

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        height, width = require_plane(grid, "block")
        num_hidden = int(height * width * self.ratio)
        require_both(height * width - num_hidden, height * width, self.ratio, grid)
        hidden = self._rectangles(batch_size, height, width, num_hidden, generator).flatten(1)
        if self.exact:
            hidden = with_count(hidden, num_hidden, generator)
        return Mask.from_hidden(as_tubes(hidden, grid), ragged=not self.exact)

    def axes(self, grid: Grid) -> frozenset[str]:
        """The last two."""
        return plane_axes(grid)

    def _rectangles(self, batch_size: int, height: int, width: int, num_hidden: int, generator: torch.Generator) -> Tensor:
        """(B, H, W) bool. All samples try one rectangle a round; the rounds end when every sample is full or out of tries."""
        hidden = torch.zeros(batch_size, height, width, dtype=torch.bool)
        num_tries = torch.zeros(batch_size, dtype=torch.int64)
        log_aspect = math.log(self.min_aspect)
        while True:
            remaining = num_hidden - hidden.sum((1, 2))
            open_ = (remaining > 0) & (num_tries < MAX_TRIES)
            if not bool(open_.any()):
                return hidden
            draw = torch.rand(4, batch_size, generator=generator)
            area = self.min_patches + draw[0] * (remaining - self.min_patches)
            aspect = torch.exp(log_aspect * (1 - 2 * draw[1]))
            h, w = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
            fits = (h < height) & (w < width) & open_
            top, left = (draw[2] * (height - h + 1)).long(), (draw[3] * (width - w + 1)).long()
            inside = rectangles(top, left, h, w, plane=(height, width))
            num_new = (inside & ~hidden).sum((1, 2))
            accepted = fits & (num_new > 0) & (num_new <= remaining)
            hidden |= inside & accepted[:, None, None]
            num_tries = torch.where(accepted, 0, num_tries + 1)
