"""Random masking: uniform noise over some axes of the grid, shared along the rest."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.interfaces.numbers import Positive
from mae_core.masking.counts import Ratio, Truncate, count_kept, require_both
from mae_core.masking.rectangles import chosen_axes
from mae_registry import ConfigError


class RandomMasker(Masker):
    """Uniform random masking (He et al. 2022, section 3), or tube masking when `over` names some axes only.

    Args:
        ratio: share of positions (of units, where these are larger) hidden, between 0 and 1.
        over: the axes that noise is drawn over; a position's other axes share its fate. Default: all. `over: [h, w]` on a
            grid t, h, w hides the same places in every frame (tube masking, VideoMAE); `over: [t]` hides whole frames.
        truncate: which count is truncated to a whole number; see `count_kept`.
        unit: side, in patches, of the squares (intervals, cubes) along the axes of `over` that are hidden as one, or a list of
            sides, one for each of these axes; it must divide them. SimMIM (Xie et al. 2022, section 3.2) hides 32-pixel
            squares: 2 of patches of 16. Its count of hidden units is rounded up, which is to truncate the kept ones: 30 of 49
            at ratio 0.6. Hiera (Ryali et al. 2023) hides such squares of a clip at each time: `over: [t, h, w]`,
            `unit: [1, 2, 2]`.
    """

    def __init__(
        self,
        *,
        ratio: Ratio,
        over: Sequence[str] | None = None,
        truncate: Truncate = "kept",
        unit: Positive | Annotated[Sequence[Positive], Field(min_length=1)] = 1,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.over = over
        self.truncate: Truncate = truncate
        self.unit = unit

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        sides = self._sides(grid)
        units = {axis: grid[axis] // side for axis, side in sides.items()}
        num_units = math.prod(units.values())
        num_keep = count_kept(num_units, self.ratio, self.truncate)
        require_both(num_keep, num_units, self.ratio, grid)
        mask = Mask.from_noise(torch.rand(batch_size, num_units, generator=generator), num_keep)
        if num_units == grid.num_patches:
            return mask
        hidden = mask.hidden.reshape(batch_size, *(units.get(axis, 1) for axis in grid.axes))
        for place, axis in enumerate(grid.axes, start=1):
            if sides.get(axis, 1) > 1:
                hidden = hidden.repeat_interleave(sides[axis], dim=place)
        return Mask.from_hidden(hidden.expand(batch_size, *grid.sizes).reshape(batch_size, -1))

    def axes(self, grid: Grid) -> frozenset[str]:
        """Masks vary along the axes of `over`."""
        return frozenset(grid.axes if self.over is None else self.over)

    def _sides(self, grid: Grid) -> dict[str, int]:
        """The sides of a unit along each axis of `over`."""
        over = grid.axes if self.over is None else tuple(self.over)
        chosen_axes(over, grid)
        sides = [self.unit] * len(over) if isinstance(self.unit, int) else list(self.unit)
        if len(sides) != len(over):
            raise ConfigError(
                f"unit: {sides} must be a single number, or a list with one side for each axis of {', '.join(over)}"
            )
        for axis, side in zip(over, sides, strict=True):
            if grid[axis] % side:
                raise ConfigError(f"unit: {self.unit} does not divide axis {axis!r} of the grid {grid}")
        return dict(zip(over, sides, strict=True))
