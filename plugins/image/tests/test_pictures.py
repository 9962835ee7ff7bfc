import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import panels
from mae_core.pictures.sheets import LABEL_WIDTH, MARGIN
from mae_core.pictures.text import FONT
from mae_image.pictures import compose, write_picture
from mae_registry import MaeError


def reconstruction(shape=(3, 64, 64), *, raw=True, seed=0, title="cat.jpg"):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.rand(shape, generator=generator)
    prediction = 3 * torch.rand(shape, generator=generator) - 1  # beyond 0 to 1 at both ends
    hidden = torch.zeros(1, *shape[1:], dtype=torch.bool)
    hidden[:, : shape[1] // 2] = True
    values = 4 * torch.randn(shape, generator=generator) if raw else None
    return Reconstruction(title, "held out", sample, hidden, prediction, values, 0.75, 0.4321)


def tile(picture, sheet, row, column, height, width):
    left, top = sheet.origin(row, column)
    box = (left, top, left + width * sheet.factor, top + height * sheet.factor)
    return np.asarray(picture.crop(box))


def quantized(values):
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 224, 224), (3, 32, 96), (1, 48, 16)])
@pytest.mark.parametrize("raw", [True, False])
def test_every_tile_is_what_its_heading_says(shape, raw, tmp_path):
    rows = [reconstruction(shape, raw=raw, seed=seed) for seed in range(2)]
    write_picture(rows, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
    channels, height, width = shape
    sheet = compose(rows)
    num_columns = 5 if raw else 4
    assert picture.size == sheet.origin(2, num_columns)
    for row, shown in enumerate(rows):
        tiles = [tile(picture, sheet, row, column, height, width) for column in range(num_columns)]
        original, masked, output, pasted = tiles[0], tiles[1], tiles[2], tiles[-1]
        small = np.s_[:: sheet.factor, :: sheet.factor]
        if channels == 3:
            assert np.array_equal(original[small], quantized(shown.sample))
            assert np.array_equal(output[small], quantized(shown.prediction))
        else:
            assert np.array_equal(original[small], np.repeat(quantized(shown.sample), 3, -1))
        half = height // 2 * sheet.factor  # hidden above, visible below
        assert np.array_equal(pasted[half:], original[half:])
        assert np.array_equal(pasted[:half], output[:half])
        assert np.array_equal(masked[half:], original[half:])
        assert (masked[:half] == 128).all()


def test_other_channel_counts_are_shown_as_their_mean():
    shown = reconstruction((5, 64, 64), raw=False)
    sheet = compose([shown])
    assert sheet.headings == [f"{panel.heading} (mean of 5 channels)" for panel in panels(shown)]
    found = tile(sheet.picture(), sheet, 0, 0, 64, 64)[:: sheet.factor, :: sheet.factor]
    assert np.array_equal(found, np.repeat(quantized(shown.sample.mean(0, keepdim=True)), 3, -1))


@pytest.mark.parametrize("num_rows", [1, 16])
@pytest.mark.parametrize("side", [8, 64, 130])
def test_labels_stay_in_their_places(num_rows, side):
    title = "a/very/long/folder/name/" * 5 + "n01440764_tench\udce9\n.JPEG"
    shown = [reconstruction((3, side, side), title=title)] * num_rows
    sheet = compose(shown)
    picture = np.asarray(sheet.picture())
    ink = (picture != 255).any(-1)
    left, top = sheet.origin(0, 0)
    assert ink[top:, MARGIN : MARGIN + LABEL_WIDTH].any()
    assert not ink[:, MARGIN + LABEL_WIDTH : left].any()
    assert not ink[sheet.origin(num_rows, 0)[1] - MARGIN :].any()
    for column in range(5):
        begin = sheet.origin(0, column)[0]
        assert ink[:top, begin : begin + sheet.column_width].any()
        assert not ink[:, begin - MARGIN : begin].any()
    assert all(FONT.getlength(line) <= LABEL_WIDTH for line in ("mask ratio 100%", "loss 12345.6789"))


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MaeError, match=r"cannot write .*/file/a\.png"):
        write_picture([reconstruction()], tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MaeError, match=r"cannot write .*/folder\.png"):
        write_picture([reconstruction()], tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_there_is_something_to_show(tmp_path):
    with pytest.raises(MaeError, match="nothing to show"):
        write_picture([], tmp_path / "a.png")


def test_half_precision_predictions_can_be_shown(tmp_path):
    shown = reconstruction()
    write_picture([dataclasses.replace(shown, prediction=shown.prediction.bfloat16())], str(tmp_path / "a.png"))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
