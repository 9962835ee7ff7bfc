from random import Random

import numpy as np
import pytest
import torch
from in_shards import in_shards
from PIL import Image

from mae_core.data.files import Content
from mae_core.interfaces import BadSample
from mae_image.datasets import DepthFolder, ImageFolder
from mae_image.modality import DEPTH, IMAGE
from mae_image.reading import read_rgb
from mae_image.shrinking import shrink

SHAPE = (3, 32, 32)


def smooth(height, width):
    """A photograph of few details, in floating point."""
    rows, columns = np.mgrid[0:height, 0:width] / 100
    return Image.fromarray((127 + 120 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)).astype(np.uint8))


def test_photographs_and_depth_maps_in_shards_are_those_of_the_folder(tmp_path):
    for number in range(3):
        (tmp_path / "photographs" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        smooth(40 + number, 60).save(tmp_path / "photographs" / "ab"[number % 2] / f"{number}.jpg")
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50)).save(tmp_path / "depth" / "a.png")
    folder = ImageFolder(SHAPE, root=str(tmp_path / "photographs"), labels="folders")
    shards = ImageFolder(SHAPE, root=in_shards(tmp_path / "photographs", tmp_path / "s", IMAGE, labels="folders"))
    for index in range(3):
        first, second = (dataset.load(index, random=Random(index)) for dataset in (folder, shards))
        assert torch.equal(first.x, second.x)
        assert first.extras == second.extras
    assert torch.equal(shards.read(2).x, folder.read(2).x)
    roots = str(tmp_path / "depth"), in_shards(tmp_path / "depth", tmp_path / "d", DEPTH)
    depth = [DepthFolder((1, 32, 32), root=root) for root in roots]
    assert torch.equal(*(dataset.load(0, random=Random(0)) for dataset in depth))


def test_large_photographs_become_smaller_and_small_ones_stay(tmp_path):
    smooth(300, 450).save(tmp_path / "large.png")
    data, suffix = shrink(tmp_path / "large.png", shorter_side=128, quality=95)
    small = read_rgb(Content("small", data))
    assert suffix == ".jpg"
    assert small.shape == (3, 128, 192)
    expected = torch.from_numpy(np.array(smooth(300, 450).resize((192, 128), Image.Resampling.BICUBIC))).permute(2, 0, 1)
    assert (small.int() - expected.int()).abs().float().mean() < 2
    smooth(100, 128).save(tmp_path / "small.jpg", quality=60)
    assert shrink(tmp_path / "small.jpg", shorter_side=128, quality=95) == ((tmp_path / "small.jpg").read_bytes(), ".jpg")
    smooth(100, 128).save(tmp_path / "small.png")
    data, suffix = shrink(tmp_path / "small.png", shorter_side=128, quality=95)
    assert read_rgb(Content("small", data)).shape == (3, 100, 128)
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    with pytest.raises(BadSample, match=r"broken\.jpg: it is not an image"):
        shrink(tmp_path / "broken.jpg", shorter_side=128, quality=95)


def test_turned_photographs_are_stored_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(200, 300).save(tmp_path / "turned.jpg", exif=exif)
    data, _ = shrink(tmp_path / "turned.jpg", shorter_side=100, quality=95)
    assert read_rgb(Content("small", data)).shape == (3, 150, 100)
