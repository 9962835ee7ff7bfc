"""Sheets of tiles with labels and headings."""

import numpy as np
import pytest
import torch

from mae_core.interfaces import Reconstruction
from mae_core.pictures.sheets import LABEL_WIDTH, MARGIN, Row, Sheet, Tile, label
from mae_core.pictures.text import FONT


def test_a_tile_shows_0_to_1_and_nothing_as_middle_grey():
    values = torch.tensor([-1.0, 0.0, 0.25, 1.0, 2.0, torch.nan]).expand(3, 2, 6)
    shown = np.asarray(Tile(values).picture(2))
    assert shown.shape == (4, 12, 3)
    assert shown[0, ::2, 0].tolist() == [0, 0, 64, 255, 255, 128]
    assert (shown[0, ::2] == shown[1, 1::2]).all()


def test_raw_values_are_shown_around_grey():
    raw = torch.tensor([-9.0, -2.0, 0.0, 1.0, 2.0, 9.0]).expand(3, 2, 6)
    assert np.asarray(Tile(raw, is_raw=True).picture(1))[0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]


@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_other_channel_counts_are_shown_as_their_mean(num_channels):
    values = torch.rand(num_channels, 4, 4)
    shown = np.asarray(Tile(values).picture(1))
    assert np.array_equal(shown[..., 0], (values.mean(0) * 255).round().byte().numpy())
    assert (shown == shown[..., :1]).all()


def test_tiles_labels_and_headings_have_places_of_their_own():
    tiles = [Tile(torch.rand(3, 20, 30)) for _ in range(4)]
    lines = [f"line {number}" for number in range(5)]
    sheet = Sheet(["first", "second"], [Row(lines, tiles[:2]), Row(["short"], tiles[2:])], 64)
    assert sheet.factor == 2
    pixels = np.asarray(sheet.picture())
    assert pixels.shape[1::-1] == sheet.origin(2, 2)
    for number, tile in enumerate(tiles):
        left, top = sheet.origin(*divmod(number, 2))
        assert np.array_equal(pixels[top : top + 40, left : left + 60], np.asarray(tile.picture(2)))
    ink = (pixels != 255).any(-1)
    for row in range(2):
        top, bottom = sheet.origin(row, 0)[1], sheet.origin(row + 1, 0)[1]
        assert ink[top : bottom - MARGIN, MARGIN : MARGIN + LABEL_WIDTH].any()
        assert not ink[bottom - MARGIN : bottom].any()


def test_labels_fit_beside_their_rows():
    values = torch.rand(3, 2, 2)
    shown = Reconstruction("n01440764/" * 9 + "猫.JPEG", "held out", values, values > 0, values, None, 0.5, 0.4)
    lines = label(shown)
    assert all(FONT.getlength(line) <= LABEL_WIDTH for line in lines)
    assert lines[0].endswith(".JPEG")
