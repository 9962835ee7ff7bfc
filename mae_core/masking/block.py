"""Block-wise masking of BEiT (Bao et al. 2022, Algorithm 1)."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.interfaces.numbers import Positive
from mae_core.masking.counts import Ratio, require_both, with_count
from mae_core.masking.rectangles import as_tubes, boxes, chosen_axes, plane_axes, require_plane

MAX_TRIES = 10
"""Blocks drawn in a row without one that fits, after which a sample is finished."""


class BlockMasker(Masker):
    """Rectangles, or cuboids, of random size and aspect are hidden until `ratio` of the patches is.

    Args:
        ratio: share of patches hidden, truncated to a whole number of patches.
        min_patches: smallest area, or volume, that a block is drawn for.
        min_aspect: aspect ratios, each of one axis to the last, are log-uniform between this and its inverse.
        over: the axes that blocks have sides along; they extend along all others, as tubes. Default: the last two.
            `over: [t, h, w]` hides cuboids of a clip or a volume.
        exact: repair the count with single random patches, so that every sample hides equally many (BEiT v2). The original's
            count varies (v1), which only an encoder over all tokens takes.
    """

    def __init__(
        self,
        *,
        ratio: Ratio,
        min_patches: Positive = 16,
        min_aspect: Annotated[float, Field(gt=0, le=1)] = 0.3,
        exact: bool = True,
        over: Annotated[Sequence[str], Field(min_length=1)] | None = None,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.min_patches = min_patches
        self.min_aspect = min_aspect
        self.exact = exact
        self.over = over

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        over = self._over(grid)
        sizes = [grid[axis] for axis in over]
        num_hidden = int(math.prod(sizes) * self.ratio)
        require_both(math.prod(sizes) - num_hidden, math.prod(sizes), self.ratio, grid)
        hidden = self._blocks(batch_size, sizes, num_hidden, generator).flatten(1)
        if self.exact:
            hidden = with_count(hidden, num_hidden, generator)
        return Mask.from_hidden(as_tubes(hidden, grid, over), ragged=not self.exact)

    def axes(self, grid: Grid) -> frozenset[str]:
        """Masks vary along the axes of `over`."""
        return plane_axes(grid) if self.over is None else frozenset(self.over)

    def _over(self, grid: Grid) -> Sequence[str]:
        """The axes in the order of the grid."""
        if self.over is None:
            require_plane(grid, "block")
            return grid.axes[-2:]
        return chosen_axes(self.over, grid)

    def _blocks(self, batch_size: int, sizes: Sequence[int], num_hidden: int, generator: torch.Generator) -> Tensor:
        """(B, *sizes) bool. All samples try one block a round; the rounds end when every sample is full or out of tries."""
        hidden = torch.zeros(batch_size, *sizes, dtype=torch.bool)
        num_tries = torch.zeros(batch_size, dtype=torch.int64)
        limits = torch.tensor(sizes)[:, None]
        while True:
            remaining = num_hidden - hidden.flatten(1).sum(1)
            open_ = (remaining > 0) & (num_tries < MAX_TRIES)
            if not bool(open_.any()):
                return hidden
            noise = torch.rand(2 * len(sizes), batch_size, generator=generator)
            sides = self._sides(noise[: len(sizes)], remaining)
            fits = (sides < limits).all(dim=0) & open_
            starts = (noise[len(sizes) :] * (limits - sides + 1)).long()
            inside = boxes(starts, sides, sizes)
            num_new = (inside & ~hidden).flatten(1).sum(1)
            accepted = fits & (num_new > 0) & (num_new <= remaining)
            hidden |= inside & accepted.reshape(-1, *[1] * len(sizes))
            num_tries = torch.where(accepted, 0, num_tries + 1)

    def _sides(self, noise: Tensor, remaining: Tensor) -> Tensor:
        """(A, B) uniform noise -> (A, B) int64: sides along the axes, of a random volume and random aspects."""
        volume = self.min_patches + noise[0] * (remaining - self.min_patches)
        aspects = torch.exp(math.log(self.min_aspect) * (1 - 2 * noise[1:]))  # of all axes but the last, to the last
        last = (volume / aspects.prod(dim=0)) ** (1 / len(noise))
        return torch.cat([last * aspects, last[None]]).round().long()
