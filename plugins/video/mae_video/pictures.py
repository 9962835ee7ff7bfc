"""Pictures of reconstructed clips: frames side by side in a PNG, moving ones in a GIF. Every row says what it shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction

NUM_FRAMES = 6
"""Frames of a clip in a PNG, evenly spaced."""
MAX_MOVING = 4
"""Clips in a GIF: more make a large file."""
TILE_SIDE = 128
"""Pixels; smaller frames are enlarged by the largest whole factor that stays within it."""
MIN_COLUMN = 150
MARGIN = 10
LABEL_WIDTH = 210
LINE_HEIGHT = 18
FONT = ImageFont.load_default(size=14)
RAW_RANGE = 2.0
"""Standard deviations of a patch that raw predictions are drawn up to, either side of grey."""
GIF_MILLISECONDS = 120


@dataclass(frozen=True)
class Row:
    """A label and the tiles beside it, (C, H, W) from 0 to 1 each."""

    label: Sequence[str]
    tiles: Sequence[Tensor]


def draw(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> None:
    """Write a PNG, one row a kind of frames of each reconstruction (all of one shape), and a GIF beside it.

    The GIF, of the same name, shows all frames of the first reconstructions, one a row. Raises MaeError if a file cannot be
    written.
    """
    picture, moving = compose(reconstructions), animate(reconstructions)
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))
    options = {"save_all": True, "append_images": moving[1:], "duration": GIF_MILLISECONDS, "loop": 0}
    write_atomically(Path(path).with_suffix(".gif"), lambda file: moving[0].save(file, format="GIF", **options))


def kinds(reconstruction: Reconstruction) -> list[tuple[str, Tensor]]:
    """Headings and clips (C, T, H, W) of values from 0 to 1; what is not predicted is black, and said to be."""
    sample, prediction = reconstruction.sample.cpu().float(), reconstruction.prediction.cpu().float()
    hidden = reconstruction.hidden.cpu()
    gaps = "; black: not predicted" if bool(prediction.isnan().any()) else ""
    shown = [("original", sample), ("masked: what the encoder sees", sample.masked_fill(hidden, 0.5))]
    if reconstruction.raw is None:
        shown.append((f"reconstruction: the model's output{gaps}", prediction))
    else:
        raw = 0.5 + reconstruction.raw.cpu().float() / (2 * RAW_RANGE)
        shown.append((f"output, denormalised with the hidden patches' true mean and variance{gaps}", prediction))
        shown.append((f"raw normalised prediction (0 grey, {RAW_RANGE:g} white, -{RAW_RANGE:g} black)", raw))
    shown.append((f"output with the visible patches pasted in{gaps}", torch.where(hidden, prediction, sample)))
    return [(heading, values.nan_to_num(0).clamp(0, 1)) for heading, values in shown]


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
        for number, (heading, clip) in enumerate(kinds(reconstruction)):
            facts = _facts(reconstruction) if number == 0 else []
            rows.append(Row([*facts, *_wrap(heading, LABEL_WIDTH)], [clip[:, frame] for frame in frames]))
    return table([f"frame {frame + 1}" for frame in frames], rows)


def animate(reconstructions: Sequence[Reconstruction]) -> list[Image.Image]:
    """The pictures that `draw` writes as a GIF, one a frame."""
    moving = reconstructions[:MAX_MOVING]
    shown = [kinds(reconstruction) for reconstruction in moving]
    headings = [heading for heading, _ in shown[0]]
    pictures = []
    for frame in range(moving[0].sample.shape[1]):
        rows = [
            Row(_facts(reconstruction), [clip[:, frame] for _, clip in clips])
            for reconstruction, clips in zip(moving, shown, strict=True)
        ]
        pictures.append(table(headings, rows))
    return pictures


def table(headings: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Tiles in rows with labels, under headings."""
    height, width = rows[0].tiles[0].shape[1:]
    factor = max(1, TILE_SIDE // max(height, width))
    column = max(width * factor, MIN_COLUMN)
    wrapped = [_wrap(heading, column) for heading in headings]
    heights = [max(height * factor, LINE_HEIGHT * len(row.label)) + MARGIN for row in rows]
    top = MARGIN + LINE_HEIGHT * max(map(len, wrapped)) + MARGIN // 2
    left = MARGIN + LABEL_WIDTH + MARGIN
    picture = Image.new("RGB", (left + len(headings) * (column + MARGIN), top + sum(heights)), "white")
    canvas = ImageDraw.Draw(picture)
    for number, lines in enumerate(wrapped):
        _write(canvas, (left + number * (column + MARGIN), MARGIN), lines)
    for row, row_height in zip(rows, heights, strict=True):
        _write(canvas, (MARGIN, top), row.label)
        for number, values in enumerate(row.tiles):
            picture.paste(_tile(values, factor), (left + number * (column + MARGIN), top))
        top += row_height
    return picture


def _tile(values: Tensor, factor: int) -> Image.Image:
    """(C, H, W) from 0 to 1 -> RGB; other than 3 channels are drawn as their mean, grey."""
    if values.shape[0] != 3:
        values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (values * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    tile = Image.fromarray(pixels.numpy())
    return tile.resize((tile.width * factor, tile.height * factor), Image.Resampling.NEAREST)


def _facts(reconstruction: Reconstruction) -> list[str]:
    ratio = f"mask ratio {100 * reconstruction.mask_ratio:.3g}%"
    lines = [reconstruction.title, reconstruction.note, f"{ratio}, loss {reconstruction.loss:.4f}"]
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
