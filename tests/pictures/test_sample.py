"""Pictures of single samples: which values become which pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from mae_core.pictures.sample import can_show, write_sample


def pixels(values, path):
    write_sample(values, path)
    with Image.open(path) as picture:
        return np.array(picture)


def test_three_channels_are_colours_and_one_is_grey(tmp_path):
    values = torch.rand(3, 100, 120)
    colours = pixels(values, tmp_path / "colours.png")
    assert np.array_equal(colours, (values * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    grey = pixels(values[:1], tmp_path / "grey.png")
    assert np.array_equal(grey, colours[..., 0])
    assert np.array_equal(pixels(values[0], tmp_path / "plane.png"), grey)


def test_of_further_axes_the_middle_is_shown(tmp_path):
    values = torch.rand(3, 5, 100, 100)
    assert np.array_equal(pixels(values, tmp_path / "all.png"), pixels(values[:, 2], tmp_path / "middle.png"))


@pytest.mark.parametrize(("low", "high"), [(-80.0, 0.0), (-4.0, 4.0), (5.0, 250.0)])
def test_other_ranges_are_stretched_from_the_lowest_to_the_highest(tmp_path, low, high):
    found = pixels(torch.linspace(low, high, 100 * 100).reshape(100, 100), tmp_path / "plane.png")
    assert (found.min(), found.max(), abs(int(found[50, 0]) - 127) <= 1) == (0, 255, True)


def test_small_pictures_are_enlarged_and_what_has_no_plane_is_not_shown(tmp_path):
    found = pixels(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), tmp_path / "small.png")
    assert found.shape == (96, 96)
    assert found[:48, :48].max() == 0
    assert found[:48, 48:].min() == 255
    assert not can_show((16000,))
    assert can_show((1, 16, 16))
