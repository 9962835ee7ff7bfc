"""A picture of reconstructions, in which every column says what it shows and nothing is pasted in unsaid."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction

TILE_SIDE = 256
"""Pixels; smaller samples are enlarged by the largest whole factor that stays within it."""
MIN_COLUMN = 176
"""Pixels, so that headings are legible above narrow samples."""
LABEL_WIDTH = 200
NUM_LABEL_LINES = 4
MARGIN = 12
LINE_HEIGHT = 20
FONT = ImageFont.load_default(size=15)
RAW_RANGE = 2.0
"""Standard deviations of a patch that raw predictions are drawn up to, either side of grey."""


def draw(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> None:
    """Write a PNG, one row a reconstruction (all of one shape), one column of `columns` beside the next.

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
        lines = max(len(_wrap(heading, column_width)) for heading in headings)
        row_height = max(height * factor, NUM_LABEL_LINES * LINE_HEIGHT)
        return cls(factor, column_width, row_height, lines * LINE_HEIGHT)

    def origin(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of a tile; `row` or `column` one past the last give the picture's size."""
        left = 2 * MARGIN + LABEL_WIDTH + column * (self.column_width + MARGIN)
        return left, 2 * MARGIN + self.header_height + row * (self.row_height + MARGIN)


def columns(reconstruction: Reconstruction) -> list[tuple[str, Tensor]]:
    """Headings and (C, H, W) values from 0 to 1. There is a raw prediction only where the target is normalised by the patch."""
    sample, prediction = reconstruction.sample.cpu().float(), reconstruction.prediction.cpu().float()
    hidden = reconstruction.hidden.cpu()
    shown = [("original", sample), ("masked: what the encoder sees", sample.masked_fill(hidden, 0.5))]
    if reconstruction.raw is None:
        shown.append(("reconstruction: the model's output", prediction))
    else:
        raw = 0.5 + reconstruction.raw.cpu().float() / (2 * RAW_RANGE)
        shown.append(("output, denormalised with the hidden patches' true mean and variance", prediction))
        shown.append((f"raw normalised prediction (0 grey, {RAW_RANGE:g} white, -{RAW_RANGE:g} black)", raw))
    shown.append(("output with the visible patches pasted in", torch.where(hidden, prediction, sample)))
    return [(heading, values.clamp(0, 1)) for heading, values in shown]


def compose(reconstructions: Sequence[Reconstruction]) -> Image.Image:
    """The picture that `draw` writes."""
    channels, height, width = reconstructions[0].sample.shape
    reduced = "" if channels in (1, 3) else f" (mean of {channels} channels)"
    headings = [heading + reduced for heading, _ in columns(reconstructions[0])]
    layout = Layout.of(height, width, headings)
    picture = Image.new("RGB", layout.origin(len(reconstructions), len(headings)), "white")
    canvas = ImageDraw.Draw(picture)
    for column, heading in enumerate(headings):
        lines = _wrap(heading, layout.column_width)
        _write(canvas, (layout.origin(0, column)[0], MARGIN), lines)
    for row, reconstruction in enumerate(reconstructions):
        _write(canvas, (MARGIN, layout.origin(row, 0)[1]), _label(reconstruction))
        for column, (_, values) in enumerate(columns(reconstruction)):
            picture.paste(_tile(values, layout.factor), layout.origin(row, column))
    return picture


def _tile(values: Tensor, factor: int) -> Image.Image:
    """(C, H, W) from 0 to 1 -> RGB; 1 channel is drawn grey, and so is the mean of other than 3."""
    if values.shape[0] != 3:
        values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (values * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    tile = Image.fromarray(pixels.numpy())
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _label(reconstruction: Reconstruction) -> list[str]:
    ratio = f"mask ratio {100 * reconstruction.mask_ratio:.3g}%"
    lines = [reconstruction.title, reconstruction.note, ratio, f"loss {reconstruction.loss:.4f}"]
    return [_shorten(line, LABEL_WIDTH) for line in lines if line]


def _shorten(text: str, width: int) -> str:
    """`text` on one line of `width` pixels, its middle left out where it is longer: both ends of a file's name tell."""
    text = " ".join(text.encode(errors="replace").decode().split())
    short, num_kept = text, len(text)
    while FONT.getlength(short) > width:
        num_kept -= 1
        short = f"{text[: num_kept // 2]}…{text[len(text) - (num_kept - num_kept // 2) :]}"
    return short


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write(canvas: ImageDraw.ImageDraw, origin: tuple[int, int], lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        canvas.text((origin[0], origin[1] + number * LINE_HEIGHT), line, fill="black", font=FONT)
