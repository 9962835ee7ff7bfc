"""A picture of reconstructions, in which every column says what it shows and nothing is pasted in unsaid."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import headings, panels
from mae_core.pictures.sheets import Row, Sheet, Tile, label

MAX_SIDE = 256
"""Pixels; smaller samples are enlarged as long as they stay within it."""


def write_picture(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG, one row a reconstruction (all of one shape), one column of `panels` beside the next. Returns its path.

    Raises MaeError if the file cannot be written, or there is nothing to show.
    """
    picture = compose(reconstructions).picture()
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))
    return [Path(path)]


def write_sample(sample: Tensor, path: Path) -> None:
    """Write a PNG of one sample (channels, height, width) from 0 to 1, enlarged if it is small."""
    factor = max(1, MAX_SIDE // max(sample.shape[1:]))
    picture = Tile(sample.cpu().float()).picture(factor)
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


def compose(reconstructions: Sequence[Reconstruction]) -> Sheet:
    """What `write_picture` writes."""
    columns = headings(reconstructions)
    channels = reconstructions[0].sample.shape[0]
    reduced = "" if channels in (1, 3) else f" (mean of {channels} channels)"
    rows = [Row(label(each), [Tile(panel.values, panel.is_raw) for panel in panels(each)]) for each in reconstructions]
    return Sheet([heading + reduced for heading in columns], rows, MAX_SIDE)
