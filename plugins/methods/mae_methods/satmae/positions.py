"""Positions of SatMAE: of a place and its group of bands, and of a place and the date of its image."""

import torch
from torch import Tensor

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Positions
from mae_core.parts.positions import sincos_table
from mae_registry import ConfigError, MaeError

TIMESTAMPS = "timestamps"
"""The extra of dated images: (images, 3), the year less 2002, the month less 1, and the hour of each."""
NUM_UNITS = 3


class GroupPositions(Positions):
    """Sine-cosine positions of the place, then those of the group's number, on a grid of groups and places.

    Args:
        group_width: the columns of the group, the last ones. Published: 256 in the encoder, 128 in the decoder.
        class_token: give the class token the position of one group more, and none of a place, as the published decoder does.
    """

    table: Tensor
    of_class_token: Tensor | None

    def __init__(self, grid: Grid, width: int, *, group_width: int = 256, class_token: bool = False) -> None:
        super().__init__()
        _require_shared(width, group_width, what="group_width")
        num_groups, *sides = grid.sizes
        place = sincos_table(Grid(**dict(zip(grid.axes[1:], sides, strict=True))), width - group_width)
        group = sincos_table(Grid(group=num_groups + 1), group_width)
        of_place, of_group = place.repeat(num_groups, 1), group[:-1].repeat_interleave(len(place), dim=0)
        self.register_buffer("table", torch.cat([of_place, of_group], dim=1), persistent=False)
        of_class_token = torch.cat([torch.zeros_like(place[0]), group[-1]]).reshape(1, 1, width) if class_token else None
        self.register_buffer("of_class_token", of_class_token, persistent=False)

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) -> (B, K, D)."""
        return self.table[ids]

    def class_position(self) -> Tensor | None:
        """(1, 1, D)."""
        return self.of_class_token


class DatePositions(Positions):
    """Sine-cosine positions of the place, then those of the image's year, month and hour, on a grid of images and places.

    The dates come with each sample, as the extra `timestamps`: (images, 3), the year less 2002, the month less 1, and the hour.

    Args:
        unit_width: the columns of the year, of the month and of the hour, the last ones. Published: 128 each in the encoder,
            64 in the decoder.
    """

    table: Tensor

    def __init__(self, grid: Grid, width: int, *, unit_width: int = 128) -> None:
        super().__init__()
        _require_shared(width, NUM_UNITS * unit_width, what=f"{NUM_UNITS} x unit_width")
        if unit_width % 2:
            raise ConfigError(f"unit_width is {unit_width}; it must be even, half of it sines and half of it cosines")
        self.num_images, *sides = grid.sizes
        table = sincos_table(Grid(**dict(zip(grid.axes[1:], sides, strict=True))), width - NUM_UNITS * unit_width)
        self.register_buffer("table", table, persistent=False)
        self.unit_width = unit_width

    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) and the samples' dates -> (B, K, D). Raises MaeError where the dates are missing."""
        images, places = ids // len(self.table), ids % len(self.table)
        dates = sincos(self._dates(extras, len(ids)), self.unit_width).flatten(2).to(self.table.dtype)  # (B, images, columns)
        own = dates.gather(1, images.unsqueeze(-1).expand(-1, -1, dates.shape[-1]))
        return torch.cat([self.table[places], own], dim=-1)

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
    """(...,) numbers -> (..., width) float64: as many sines as cosines, as `sincos_table` has them along one axis."""
    half = torch.arange(width // 2, dtype=torch.float64, device=numbers.device)
    angles = numbers.unsqueeze(-1) * 10000.0 ** (-half / (width / 2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _require_shared(width: int, part: int, *, what: str) -> None:
    if not 0 < part < width:
        raise ConfigError(f"{what} is {part}; of the {width} columns of a position it must leave some for the place")
