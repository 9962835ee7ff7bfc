"""Pictures of reconstructed clips: frames side by side in a PNG, moving ones in a GIF. Every row says what it shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import LINE_HEIGHT, Panel, facts, panels, shorten, tile, wrap, write_lines

NUM_FRAMES = 6
"""Frames of a clip in a PNG, evenly spaced."""
MAX_MOVING = 4
"""Clips in a GIF: more make a large file."""
TILE_SIDE = 128
"""Pixels; smaller frames are enlarged by the largest whole factor that stays within it."""
MIN_COLUMN = 150
MARGIN = 10
LABEL_WIDTH = 210
GIF_MILLISECONDS = 120


@dataclass(frozen=True)
class Row:
    """A label and the frames beside it: (panel, number of the frame)."""

    label: Sequence[str]
    frames: Sequence[tuple[Panel, int]]


def draw(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> None:
    """Write a PNG, one row a kind of frames of each reconstruction (all of one shape), and a GIF beside it.

    The GIF, of the same name, shows all frames of the first reconstructions, one a row. Raises MaeError if a file cannot be
    written.
    """
    picture, moving = compose(reconstructions), animate(reconstructions)
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))
    options = {"save_all": True, "append_images": moving[1:], "duration": GIF_MILLISECONDS, "loop": 0}
    write_atomically(Path(path).with_suffix(".gif"), lambda file: moving[0].save(file, format="GIF", **options))


def chosen_frames(reconstruction: Reconstruction) -> list[int]:
    """Up to NUM_FRAMES evenly spaced frames, of those of which anything is predicted."""
    predicted = (~reconstruction.prediction.isnan()).flatten(2).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    count = min(NUM_FRAMES, len(predicted))
    return [predicted[place] for place in np.linspace(0, len(predicted) - 1, count).round().astype(int)]


def compose(reconstructions: Sequence[Reconstruction]) -> Image.Image:
    """The picture that `draw` writes as a PNG."""
    frames = chosen_frames(reconstructions[0])
    rows = []
    for reconstruction in reconstructions:
        for number, panel in enumerate(panels(reconstruction)):
            own = _label(reconstruction) if number == 0 else []
            rows.append(Row([*own, *wrap(panel.heading, LABEL_WIDTH)], [(panel, frame) for frame in frames]))
    return table([f"frame {frame + 1}" for frame in frames], rows)


def animate(reconstructions: Sequence[Reconstruction]) -> list[Image.Image]:
    """The pictures that `draw` writes as a GIF, one a frame."""
    moving = [(reconstruction, panels(reconstruction)) for reconstruction in reconstructions[:MAX_MOVING]]
    headings = [panel.heading for panel in moving[0][1]]
    return [
        table(headings, [Row(_label(reconstruction), [(panel, frame) for panel in shown]) for reconstruction, shown in moving])
        for frame in range(moving[0][0].sample.shape[1])
    ]


def table(headings: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Frames in rows with labels, under headings."""
    height, width = rows[0].frames[0][0].values.shape[2:]
    factor = max(1, TILE_SIDE // max(height, width))
    column = max(width * factor, MIN_COLUMN)
    wrapped = [wrap(heading, column) for heading in headings]
    heights = [max(height * factor, LINE_HEIGHT * len(row.label)) + MARGIN for row in rows]
    top = MARGIN + LINE_HEIGHT * max(map(len, wrapped)) + MARGIN // 2
    left = MARGIN + LABEL_WIDTH + MARGIN
    picture = Image.new("RGB", (left + len(headings) * (column + MARGIN), top + sum(heights)), "white")
    canvas = ImageDraw.Draw(picture)
    for number, lines in enumerate(wrapped):
        write_lines(canvas, (left + number * (column + MARGIN), MARGIN), lines)
    for row, row_height in zip(rows, heights, strict=True):
        write_lines(canvas, (MARGIN, top), row.label)
        for number, (panel, frame) in enumerate(row.frames):
            shown = tile(panel.values[:, frame], is_raw=panel.is_raw, factor=factor)
            picture.paste(shown, (left + number * (column + MARGIN), top))
        top += row_height
    return picture


def _label(reconstruction: Reconstruction) -> list[str]:
    return [shorten(line, LABEL_WIDTH) for line in facts(reconstruction)]
