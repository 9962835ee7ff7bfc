"""Random masking: uniform noise over some axes of the grid, shared along the rest."""

import math
from collections.abc import Sequence

import torch

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.masking.counts import Ratio, Truncate, count_kept, require_both
from mae_registry import ConfigError


class RandomMasker(Masker):
    """Uniform random masking (He et al. 2022, section 3), or tube masking when `over` names some axes only.

    Args:
        ratio: share of positions hidden, between 0 and 1.
        over: the axes that noise is drawn over; a position's other axes share its fate. Default: all. `over: [h, w]` on a
            grid t, h, w hides the same places in every frame (tube masking, VideoMAE); `over: [t]` hides whole frames.
        truncate: which count is truncated to a whole number; see `count_kept`.
    """

    def __init__(self, *, ratio: Ratio, over: Sequence[str] | None = None, truncate: Truncate = "kept") -> None:
        self.ratio = ratio
        self.over = over
        self.truncate: Truncate = truncate

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        over = grid.axes if self.over is None else tuple(self.over)
        if not over or len(set(over)) != len(over):
            raise ConfigError(f"over: {list(over)} must name one or more axes of the grid {grid}, each once")
        num_positions = math.prod(grid[axis] for axis in over)
        num_keep = count_kept(num_positions, self.ratio, self.truncate)
        require_both(num_keep, num_positions, self.ratio, grid)
        mask = Mask.from_noise(torch.rand(batch_size, num_positions, generator=generator), num_keep)
        if set(over) == set(grid.axes):
            return mask
        # hidden over the named axes (in the grid's order), repeated along the others
        shape = [size if axis in over else 1 for axis, size in zip(grid.axes, grid.sizes, strict=True)]
        hidden = mask.hidden.reshape(batch_size, *shape).expand(batch_size, *grid.sizes)
        return Mask.from_hidden(hidden.reshape(batch_size, -1))
