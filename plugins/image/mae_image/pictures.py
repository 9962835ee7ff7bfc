"""A picture of reconstructions, in which every column says what it shows and nothing is pasted in unsaid."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import LINE_HEIGHT, facts, panels, shorten, tile, wrap, write_lines

TILE_SIDE = 256
"""Pixels; smaller samples are enlarged by the largest whole factor that stays within it."""
MIN_COLUMN = 176
"""Pixels, so that headings are legible above narrow samples."""
LABEL_WIDTH = 200
NUM_LABEL_LINES = 4
MARGIN = 12


def draw(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> None:
    """Write a PNG, one row a reconstruction (all of one shape), one column of `panels` beside the next.

    Raises MaeError if the file cannot be written.
    """
    picture = compose(reconstructions)
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))


@dataclass(frozen=True)
class Layout:
    """Where things lie, in pixels."""

    factor: int
    """By which samples are enlarged."""
    column_width: int
    row_height: int
    header_height: int

    @classmethod
    def of(cls, height: int, width: int, headings: Sequence[str]) -> "Layout":
        """For samples of `height` x `width` pixels."""
        factor = max(1, TILE_SIDE // max(height, width))
        column_width = max(width * factor, MIN_COLUMN)
        lines = max(len(wrap(heading, column_width)) for heading in headings)
        row_height = max(height * factor, NUM_LABEL_LINES * LINE_HEIGHT)
        return cls(factor, column_width, row_height, lines * LINE_HEIGHT)

    def origin(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a tile; `row` or `column` one past the last give the picture's size."""
        left = 2 * MARGIN + LABEL_WIDTH + column * (self.column_width + MARGIN)
        return left, 2 * MARGIN + self.header_height + row * (self.row_height + MARGIN)


def compose(reconstructions: Sequence[Reconstruction]) -> Image.Image:
    """The picture that `draw` writes."""
    channels, height, width = reconstructions[0].sample.shape
    reduced = "" if channels in (1, 3) else f" (mean of {channels} channels)"
    headings = [panel.heading + reduced for panel in panels(reconstructions[0])]
    layout = Layout.of(height, width, headings)
    picture = Image.new("RGB", layout.origin(len(reconstructions), len(headings)), "white")
    canvas = ImageDraw.Draw(picture)
    for column, heading in enumerate(headings):
        write_lines(canvas, (layout.origin(0, column)[0], MARGIN), wrap(heading, layout.column_width))
    for row, reconstruction in enumerate(reconstructions):
        label = [shorten(line, LABEL_WIDTH) for line in facts(reconstruction)]
        write_lines(canvas, (MARGIN, layout.origin(row, 0)[1]), label)
        for column, panel in enumerate(panels(reconstruction)):
            shown = tile(panel.values, is_raw=panel.is_raw, factor=layout.factor)
            picture.paste(shown, layout.origin(row, column))
    return picture
