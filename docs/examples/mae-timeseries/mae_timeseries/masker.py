"""Which patches are hidden: spans of time, as when a sensor drops out for a while."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker
from mae_registry import ConfigError


class Spans(Masker):
    """Hide spans of neighbouring patches, of geometric lengths; exactly `round(ratio * size)` patches along the axis.

    A single hidden patch between two seen ones can be interpolated, which teaches little; a span cannot. Spans that happen to
    touch become a longer one; the last one is cut off where the count is reached; one that reaches the end goes on at the
    beginning.

    Args:
        ratio: share of the axis that is hidden.
        mean_length: of a span, in patches.
        axis: along which spans run.
        shared: the same spans at all positions of the other axes (all channels drop out at once), instead of each its own.
    """

    def __init__(
        self,
        *,
        ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        mean_length: Annotated[float, Field(gt=1)] = 3.0,
        axis: str = "t",
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.mean_length = mean_length
        self.axis = axis
        self.shared = shared

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask of `batch_size` samples. Raises ConfigError if the grid lacks the axis, or all or nothing of it is hidden."""
        size = grid[self.axis]
        num_hidden = round(self.ratio * size)
        if not 0 < num_hidden < size:
            raise ConfigError(
                f"a ratio of {self.ratio} hides {num_hidden} of the {size} patches along {self.axis}; change the ratio"
            )
        others = [grid[axis] for axis in grid.axes if axis != self.axis]
        drawn = [1 if self.shared else other for other in others]
        rows = self._rows(torch.Size((batch_size, *drawn)).numel(), size, num_hidden, generator)
        hidden = rows.view(batch_size, *drawn, size).expand(batch_size, *others, size)
        return Mask.from_hidden(hidden.movedim(-1, 1 + grid.axes.index(self.axis)).flatten(1))

    def axes(self, grid: Grid) -> frozenset[str]:
        """The axes along which masks vary."""
        return frozenset([self.axis]) if self.shared else frozenset(grid.axes)

    def _rows(self, num_rows: int, size: int, num_hidden: int, generator: torch.Generator) -> Tensor:
        """(num_rows, size) bool, each row with exactly `num_hidden` True: spans and seen patches in a random order."""
        lengths = torch.empty(num_rows, num_hidden).geometric_(1 / self.mean_length, generator=generator).long()
        ends = lengths.cumsum(1).clamp(max=num_hidden)
        spans = ends.diff(dim=1, prepend=torch.zeros(num_rows, 1, dtype=torch.long))  # 0 once the count is reached
        seen = torch.ones(num_rows, size - num_hidden, dtype=torch.long)
        lengths = torch.cat([spans, seen], dim=1)
        order = torch.rand(lengths.shape, generator=generator).argsort(dim=1)
        hidden = (order < num_hidden).flatten().repeat_interleave(lengths.gather(1, order).flatten()).view(num_rows, size)
        turn = torch.randint(size, (num_rows, 1), generator=generator)  # so that ends are hidden as often as the middle
        return hidden.gather(1, (torch.arange(size) + turn) % size)
