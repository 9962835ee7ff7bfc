"""Pictures of reconstructed clips: frames side by side in a PNG, moving ones in a GIF. Every row says what it shows."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import Panel, headings, panels
from mae_core.pictures.sheets import LABEL_WIDTH, Row, Sheet, Tile, label
from mae_core.pictures.text import wrap

NUM_FRAMES = 6
"""Frames of a clip in a PNG, evenly spaced."""
NUM_SHOWN = 3
"""Frames of a single sample."""
MAX_MOVING = 4
"""Clips in a GIF: more make a large file."""
MAX_SIDE = 128
"""Pixels; smaller frames are enlarged as long as they stay within it."""
GIF_MILLISECONDS = 120


def write_picture(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG, one row a kind of frames of each reconstruction (all of one shape), and a GIF beside it.

    The GIF, of the same name, shows all frames of the first reconstructions, one a row. Returns both paths. Raises
    MaeError if a file cannot be written, or there is nothing to show.
    """
    picture, moving = compose(reconstructions).picture(), animate(reconstructions)
    png, gif = Path(path), Path(path).with_suffix(".gif")
    write_atomically(png, lambda file: picture.save(file, format="PNG"))
    options = {"save_all": True, "append_images": moving[1:], "duration": GIF_MILLISECONDS, "loop": 0}
    write_atomically(gif, lambda file: moving[0].save(file, format="GIF", **options))
    return [png, gif]


def write_sample(sample: Tensor, path: Path) -> None:
    """Write a PNG of the first, a middle and the last frame of one sample (channels, frames, height, width), side by side."""
    frames = np.linspace(0, sample.shape[1] - 1, NUM_SHOWN).round().astype(int)
    factor = max(1, MAX_SIDE // max(sample.shape[2:]))
    tiles = [Tile(sample[:, frame].cpu().float()).picture(factor) for frame in frames]
    picture = Image.new("RGB", (sum(tile.width for tile in tiles), tiles[0].height))
    for number, tile in enumerate(tiles):
        picture.paste(tile, (number * tile.width, 0))
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


def chosen_frames(reconstruction: Reconstruction) -> list[int]:
    """Up to NUM_FRAMES evenly spaced frames, of those of which anything is predicted."""
    predicted = (~reconstruction.prediction.isnan()).flatten(2).any(dim=2).any(dim=0).nonzero().flatten().tolist()
    count = min(NUM_FRAMES, len(predicted))
    return [predicted[place] for place in np.linspace(0, len(predicted) - 1, count).round().astype(int)]


def compose(reconstructions: Sequence[Reconstruction]) -> Sheet:
    """What `write_picture` writes as a PNG."""
    kinds = headings(reconstructions)
    frames = chosen_frames(reconstructions[0])
    rows = []
    for reconstruction in reconstructions:
        for number, (kind, panel) in enumerate(zip(kinds, panels(reconstruction), strict=True)):
            own = label(reconstruction) if number == 0 else []
            rows.append(Row([*own, *wrap(kind, LABEL_WIDTH)], [_tile(panel, frame) for frame in frames]))
    return Sheet([f"frame {frame + 1}" for frame in frames], rows, MAX_SIDE)


def animate(reconstructions: Sequence[Reconstruction]) -> list[Image.Image]:
    """The pictures that `write_picture` writes as a GIF, one a frame."""
    kinds = headings(reconstructions)
    moving = [(label(each), panels(each)) for each in reconstructions[:MAX_MOVING]]

    def sheet(frame: int) -> Sheet:
        return Sheet(kinds, [Row(lines, [_tile(panel, frame) for panel in shown]) for lines, shown in moving], MAX_SIDE)

    return [sheet(frame).picture() for frame in range(reconstructions[0].sample.shape[1])]


def _tile(panel: Panel, frame: int) -> Tile:
    return Tile(panel.values[:, frame], panel.is_raw)
