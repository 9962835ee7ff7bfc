"""Pictures of reconstructed satellite images: groups of bands as colours, and images of several dates side by side."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import headings, panels
from mae_core.pictures.sheets import LABEL_WIDTH, Row, Sheet, Tile, label
from mae_core.pictures.text import wrap
from mae_video import pictures as clips

MAX_SIDE = 192
"""Pixels; smaller images are enlarged as long as they stay within it."""
SENTINEL_2_VIEWS: Mapping[str, tuple[int, ...]] = {
    "bands 2, 1, 0: red, green and blue": (2, 1, 0),
    "bands 5, 4, 3 as red, green and blue: the red edge": (5, 4, 3),
    "bands 9 and 8, their mean: short wave": (9, 8),
}
"""Which of Sentinel-2's ten bands are shown together: some of each published group."""


def write_bands(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG: for each reconstruction a row for each choice of bands, one column of `panels` beside the next.

    Returns its path. Raises MaeError if the file cannot be written, or there is nothing to show.
    """
    picture = compose_bands(reconstructions).picture()
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))
    return [Path(path)]


def compose_bands(reconstructions: Sequence[Reconstruction]) -> Sheet:
    """What `write_bands` writes."""
    columns = headings(reconstructions)
    rows = []
    for reconstruction in reconstructions:
        for number, (view, bands) in enumerate(_views(len(reconstruction.sample)).items()):
            own = label(reconstruction) if number == 0 else []
            tiles = [Tile(_shown(panel.values, bands), panel.is_raw) for panel in panels(reconstruction)]
            rows.append(Row([*own, *wrap(view, LABEL_WIDTH)], tiles))
    return Sheet(columns, rows, MAX_SIDE)


def write_dated(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG: for each reconstruction a row for each of `panels`, one image beside the next.

    Returns its path. Raises MaeError if the file cannot be written, or there is nothing to show.
    """
    sheet = clips.compose(reconstructions)
    sheet = replace(sheet, headings=[heading.replace("frame", "image") for heading in sheet.headings])
    picture = sheet.picture()
    write_atomically(Path(path), lambda file: picture.save(file, format="PNG"))
    return [Path(path)]


def _views(num_bands: int) -> Mapping[str, tuple[int, ...]]:
    if num_bands == max(map(max, SENTINEL_2_VIEWS.values())) + 1:
        return SENTINEL_2_VIEWS
    if num_bands >= 3:
        return {f"bands 2, 1, 0 of {num_bands} as red, green and blue": (2, 1, 0)}
    return {f"the mean of {num_bands} bands" if num_bands > 1 else "one band": tuple(range(num_bands))}


def _shown(values: Tensor, bands: Sequence[int]) -> Tensor:
    """(bands, H, W) -> those that are shown, as colours, or as their mean."""
    return values[list(bands)] if len(bands) == 3 else torch.stack([values[band] for band in bands]).mean(0, keepdim=True)
