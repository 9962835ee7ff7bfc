"""Sheets of tiles: rows with a label to the left, columns with a heading above."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import RAW_RANGE, facts
from mae_core.pictures.text import LINE_HEIGHT, legible, shorten, wrap, write_lines

MIN_COLUMN = 170
"""Pixels, so that headings are legible above narrow tiles."""
LABEL_WIDTH = 210
MARGIN = 12


@dataclass(frozen=True)
class Tile:
    """Values (C, H, W) from 0 to 1, or raw ones from -RAW_RANGE to RAW_RANGE; NaN where there are none."""

    values: Tensor
    is_raw: bool = False

    def picture(self, factor: int) -> Image.Image:
        """RGB, enlarged. Other than 3 channels are shown as their mean, grey; NaN is middle grey."""
        values = 0.5 + self.values / (2 * RAW_RANGE) if self.is_raw else self.values
        if values.shape[0] != 3:
            values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
        pixels = (values.nan_to_num(0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        small = Image.fromarray(pixels.numpy())
        return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)


@dataclass(frozen=True)
class Row:
    """A label and the tiles beside it."""

    label: Sequence[str]
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Sheet:
    """Tiles of one size in rows, under headings. Lengths are in pixels."""

    headings: Sequence[str]
    rows: Sequence[Row]
    max_side: int
    """Smaller tiles are enlarged by the largest whole factor that stays within it."""

    @cached_property
    def factor(self) -> int:
        """The factor by which tiles are enlarged."""
        return max(1, self.max_side // max(self._tile_size))

    @cached_property
    def column_width(self) -> int:
        """Without the margin."""
        return max(self._tile_size[1] * self.factor, MIN_COLUMN)

    def origin(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a tile; `row` and `column` one past the last give the sheet's size."""
        return 2 * MARGIN + LABEL_WIDTH + column * (self.column_width + MARGIN), self._tops[row]

    def picture(self) -> Image.Image:
        """The sheet, drawn on white."""
        picture = Image.new("RGB", self.origin(len(self.rows), len(self.headings)), "white")
        canvas = ImageDraw.Draw(picture)
        for column, lines in enumerate(self._wrapped):
            write_lines(canvas, (self.origin(0, column)[0], MARGIN), lines)
        for number, row in enumerate(self.rows):
            write_lines(canvas, (MARGIN, self.origin(number, 0)[1]), row.label)
            for column, tile in enumerate(row.tiles):
                picture.paste(tile.picture(self.factor), self.origin(number, column))
        return picture

    @cached_property
    def _tops(self) -> list[int]:
        """The top of each row, and of the row that would come next."""
        least = self._tile_size[0] * self.factor
        heights = [max(least, LINE_HEIGHT * len(row.label)) + MARGIN for row in self.rows]
        first = 2 * MARGIN + LINE_HEIGHT * max(map(len, self._wrapped))
        return list(accumulate(heights, initial=first))

    @cached_property
    def _wrapped(self) -> list[list[str]]:
        return [wrap(heading, self.column_width) for heading in self.headings]

    @property
    def _tile_size(self) -> tuple[int, int]:
        _, height, width = self.rows[0].tiles[0].values.shape
        return height, width


def label(reconstruction: Reconstruction) -> list[str]:
    """The facts of a reconstruction, in lines that fit beside a row."""
    title, *others = facts(reconstruction)
    return [shorten(legible(title), LABEL_WIDTH), *(line for fact in others for line in wrap(fact, LABEL_WIDTH))]
