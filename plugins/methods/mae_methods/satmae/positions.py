"""Positions of SatMAE: of a place and its group of bands, and of a place and the date of its image."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Positions
from mae_core.parts.positions import SinCos
from mae_registry import ConfigError, MaeError

TIMESTAMPS = "timestamps"
"""The extra of dated images: (images, 3), the year less 2002, the month less 1, and the hour of each."""
NUM_UNITS = 3
"""The number of units in a date: year, month and hour."""
Even = Annotated[int, Field(ge=2, multiple_of=2)]
"""A width that is half sines and half cosines."""


class GroupPositions(Positions):
    """Sine-cosine positions of the place, then those of the group's number, on a grid of groups and places.

    Args:
        group_width: the columns of the group, the last ones. Published: 256 in the encoder, 128 in the decoder.
        class_token: give the class token the position of one group more, and none of a place, as the published decoder does.
    """

    def __init__(self, grid: Grid, width: int, *, group_width: Even = 256, class_token: bool = False) -> None:
        super().__init__()
        self.place = _places(grid, width - group_width, of=width, what="group_width")
        self.num_groups, self.num_places = grid.sizes[0], len(self.place.table)
        self.group = SinCos(Grid(group=self.num_groups + int(class_token)), group_width)

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return torch.cat([self.place(ids % self.num_places), self.group(ids // self.num_places)], dim=-1)

    def class_position(self) -> Tensor | None:
        """(1, 1, D), where the class token has one."""
        of_group = self.group.table[self.num_groups :]
        if not len(of_group):
            return None
        return torch.cat([torch.zeros_like(self.place.table[:1]), of_group], dim=-1).unsqueeze(0)


class DatePositions(Positions):
    """Sine-cosine positions of the place, then those of the image's year, month and hour, on a grid of images and places.

    The dates come with each sample, as the extra `timestamps`: (images, 3), the year less 2002, the month less 1, and the hour.

    Args:
        unit_width: the columns of the year, of the month and of the hour, the last ones. Published: 128 each in the encoder,
            64 in the decoder.
    """

    def __init__(self, grid: Grid, width: int, *, unit_width: Even = 128) -> None:
        super().__init__()
        self.place = _places(grid, width - NUM_UNITS * unit_width, of=width, what=f"{NUM_UNITS} x unit_width")
        self.num_images, self.num_places = grid.sizes[0], len(self.place.table)
        self.unit_width = unit_width

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) and the samples' dates -> (B, K, D). Raises MaeError where the dates are missing."""
        place = self.place(ids % self.num_places)
        images = sincos(self._dates(extras, len(ids)), self.unit_width).flatten(2).to(place.dtype)  # (B, images, columns)
        index = (ids // self.num_places).unsqueeze(-1).expand(-1, -1, images.shape[-1])
        return torch.cat([place, images.gather(1, index)], dim=-1)

    def _dates(self, extras: Extras, num_rows: int) -> Tensor:
        if TIMESTAMPS not in extras:
            raise MaeError(
                "the positions satmae_dates need to know when each image was taken, and the samples do not say it: the dataset "
                f"must load Sample(x, {{{TIMESTAMPS!r}: dates}}); dates, of shape ({self.num_images}, {NUM_UNITS}), are the "
                "year less 2002, the month less 1, and the hour of each image"
            )
        dates = extras[TIMESTAMPS]
        if dates.shape != (num_rows, self.num_images, NUM_UNITS):
            expected = (num_rows, self.num_images, NUM_UNITS)
            raise MaeError(
                f"{TIMESTAMPS!r} has the shape {tuple(dates.shape)}; for {num_rows} samples of {self.num_images} images it "
                f"must be {expected}: the year less 2002, the month less 1, and the hour of each"
            )
        return dates


def sincos(numbers: Tensor, width: int) -> Tensor:
    """(...,) numbers -> (..., width) float64: as many sines as cosines, as `mae_core.parts.positions.sincos_table` has them."""
    half = torch.arange(width // 2, dtype=torch.float64, device=numbers.device)
    angles = numbers.unsqueeze(-1) * 10000.0 ** (-half / (width / 2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _places(grid: Grid, width: int, *, of: int, what: str) -> SinCos:
    """Positions of a place, on the grid's axes but the first one. Raises ConfigError where they are left no columns."""
    if width < 1:
        raise ConfigError(f"{what} is {of - width}; of the {of} columns of a position it must leave some for the place")
    return SinCos(Grid(**{axis: grid[axis] for axis in grid.axes[1:]}), width)
