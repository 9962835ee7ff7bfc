"""Depth maps and labels: files, folders that stay paired with photographs, pictures."""

import struct
import zlib
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from mae_core.interfaces import BadSample, Reconstruction
from mae_core.pictures.panels import panels
from mae_image.datasets import DepthFolder, ImageFolder, SemsegFolder
from mae_image.pictures import compose, write_picture
from mae_image.reading import read_image
from mae_image.scene_files import (
    colours,
    read_depth,
    read_depth_map,
    read_labels,
    read_semseg,
    write_semseg_picture,
)
from mae_image.scenes import DepthPatches, SemsegPatches
from mae_image.tokenizer import ImagePatches
from mae_registry import ConfigError

DEPTH_TOKENIZER = DepthPatches(8, input_size=(28, 28), patch_size=(4, 4))
SEMSEG_TOKENIZER = SemsegPatches(8, input_size=(56, 56), patch_size=(8, 8), stride=4, num_classes=20)


def save(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "values"),
    [
        ("a.png", np.uint8, [0, 7, 255]),
        ("a.png", np.uint16, [0, 1000, 65535]),
        ("a.tif", np.uint16, [0, 1000, 65535]),
        ("a.tiff", np.int32, [0, 70000, 2**24]),
        ("a.tiff", np.float32, [-1.5, 0.1, 1e6]),
    ],
)
def test_depths_come_out_in_the_unit_of_the_file(name, dtype, values, tmp_path):
    depth = np.array([values, values[::-1]], dtype)
    found = read_depth_map(save(tmp_path / name, depth))
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(depth.astype(np.float32))[None])


def test_read_depth_is_the_centre_resized(tmp_path):
    rows = np.arange(64, dtype=np.float32)[:, None] * np.ones((1, 96), np.float32)
    found = read_depth(save(tmp_path / "a.tif", rows), DEPTH_TOKENIZER)
    assert found.shape == (1, 28, 28)
    # 64 rows to 32, the middle 28: row i is the mean of rows around 2 i + 4.5, exact for a ramp away from the edges
    expected = (2 * torch.arange(28) + 4.5).reshape(28, 1).expand(28, 28)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-4)


def test_files_that_are_no_depth_map(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(save(tmp_path / "a.png", np.zeros((50, 50), np.uint16)).read_bytes()[:-40])
    save(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "nan.tif", np.array([[1, np.nan]], np.float32))
    for name, message in (
        ("none.png", "the file cannot be read: No such file"),
        ("text.png", "not an image"),
        ("cut.png", "the image cannot be decoded"),
        ("rgb.png", "its pixels are RGB; a depth map is grey, of 8, 16 or 32 bits"),
        ("nan.tif", "some depths are not finite numbers; give pixels without a depth the largest one"),
    ):
        with pytest.raises(BadSample, match=f"{tmp_path}/{name}: .*{message}"):
            read_depth(tmp_path / name, DEPTH_TOKENIZER)


def paletted(labels):
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(255, -1, -1)) * 3)  # the colours must not matter
    return image


@pytest.mark.parametrize("palette", [True, False])
def test_labels_are_indices_of_a_palette_or_grey_values(palette, tmp_path):
    labels = np.random.default_rng(0).integers(0, 20, (30, 40), np.uint8)
    (paletted(labels) if palette else Image.fromarray(labels)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ("P" if palette else "L")
    assert torch.equal(read_labels(tmp_path / "a.png", num_classes=20), torch.from_numpy(labels)[None])


def test_read_semseg_takes_the_middle_of_each_stride(tmp_path):
    # 64 pixels a side, as the published rule asks for 56: the label of a stride is that of its middle, and none is made up
    labels = np.random.default_rng(0).choice(np.array([0, 19], np.uint8), (64, 64))
    found = read_semseg(save(tmp_path / "a.png", labels), SEMSEG_TOKENIZER)
    assert found.dtype == torch.int64
    assert torch.equal(found, torch.from_numpy(labels)[2::4, 2::4][1:15, 1:15].long())


def test_files_that_are_no_labels(tmp_path):
    save(tmp_path / "large.png", np.array([[3, 20]], np.uint8))
    save(tmp_path / "rgb.png", np.zeros((4, 4, 3), np.uint8))
    save(tmp_path / "deep.png", np.zeros((4, 4), np.uint16))
    for name, message in (
        ("large.png", r"large\.png: it contains the label 20, but labels go from 0 to 19 \(num_classes\)"),
        ("rgb.png", "its pixels are RGB; labels are the indices of a palette, or grey of 8 bits"),
        ("deep.png", r"its pixels are I;16"),
        ("none.png", "cannot be read"),
    ):
        with pytest.raises(BadSample, match=message):
            read_semseg(tmp_path / name, SEMSEG_TOKENIZER)
    with pytest.raises(ConfigError, match="'semseg_patches', not for ImagePatches"):
        read_semseg(tmp_path / "large.png", ImagePatches(8))


def test_grey_of_few_bits_is_refused_because_pillow_stretches_it(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 1]], np.uint8))
    data = bytearray(path.read_bytes())
    data[24] = 4  # the header's bit depth, and its checksum
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(BadSample, match="its pixels are grey of 4 bits"):
        read_labels(path, num_classes=20)


@pytest.fixture
def scene(tmp_path):
    """Folders whose files say where each pixel was: red and green are twice row and column, depth is row + 100 column (exact
    after any resizing, but near edges), the label says which square of 8 x 8 pixels."""
    for folder in ("rgb", "depth", "labels"):
        (tmp_path / folder).mkdir()
    for number, (height, width) in enumerate([(96, 96), (64, 96), (96, 40)]):
        rows, cols = np.mgrid[0:height, 0:width]
        save(tmp_path / "rgb" / f"{number}.png", np.stack([2 * rows, 2 * cols, 0 * rows], -1).astype(np.uint8))
        save(tmp_path / "depth" / f"{number}.tif", (rows + 100 * cols).astype(np.float32))
        paletted((rows // 8 * 12 + cols // 8).astype(np.uint8)).save(tmp_path / "labels" / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("height", [224, 96])
def test_paired_crops_stay_aligned(scene, height):
    image = ImageFolder((3, height, 224), root=str(scene / "rgb"), interpolation="bilinear")
    depth = DepthFolder((1, height, 224), root=str(scene / "depth"))
    semseg = SemsegFolder((height // 4, 56), root=str(scene / "labels"), num_classes=144)
    flipped = set()
    for seed in range(20):
        pixels, metres, labels = (dataset.load(seed % 3, random=Random(seed)) for dataset in (image, depth, semseg))
        assert (pixels.dtype, metres.dtype, labels.dtype) == (torch.uint8, torch.float32, torch.int64)
        assert (pixels.shape, metres.shape, labels.shape) == ((3, height, 224), (1, height, 224), (height // 4, 56))
        rows, cols = pixels[0] / 2, pixels[1] / 2
        torch.testing.assert_close(rows + 100 * cols, metres[0], rtol=0, atol=30)  # a byte's rounding, a quarter of a column
        flipped.add(bool(cols[0, 0] > cols[0, -1]))
        for where, square in ((rows, labels // 12), (cols, labels % 12)):
            middle = torch.nn.functional.avg_pool2d(where[None], 4)[0]
            assert (middle - (8 * square + 3.5)).abs().max() < 4 + 1  # half a square, and nearest's half a pixel
    assert flipped == {False, True}


def test_unequal_random_numbers_would_show(scene):
    depth = DepthFolder((1, 56, 56), root=str(scene / "depth"))
    assert not torch.equal(depth.load(0, random=Random(0)), depth.load(0, random=Random(1)))


def test_flips_turn_labels_too(scene):
    options = {"root": str(scene / "labels"), "num_classes": 144, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    plain, flipped = (SemsegFolder((24, 24), flip=flip, **options).load(0, random=Random(0)) for flip in (0.0, 1.0))
    assert torch.equal(flipped, plain.flip(1))
    assert plain[0].tolist() == [n for n in range(12) for _ in range(2)]


def test_previews_of_folders(scene):
    (scene / "depth" / "1.tif").write_text("")
    depth = DepthFolder((1, 28, 28), root=str(scene / "depth"))
    semseg = SemsegFolder((14, 14), root=str(scene / "labels"), num_classes=144)
    assert [(preview.title, preview.note) for preview in depth.previews(3)] == [("0.tif", "training"), ("2.tif", "training")]
    tokenizer = SemsegPatches(8, input_size=(56, 56), patch_size=(8, 8), num_classes=144)
    for index, preview in enumerate(semseg.previews(3)):
        assert torch.equal(preview.sample, read_semseg(semseg.describe(index), tokenizer))
    assert torch.equal(depth.previews(1)[0].sample, read_depth(depth.describe(0), DEPTH_TOKENIZER))


def test_folder_errors_name_the_modality(scene, tmp_path):
    for make, shape, message in (
        (DepthFolder, (1, 8, 8), r"add data\.depth\.root=DIR, a folder of depth maps"),
        (SemsegFolder, (8, 8), r"add data\.semseg\.root=DIR, a folder of label maps"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(shape)
    with pytest.raises(ConfigError, match=r"data\.semseg\.root: .* no label maps but 3 other files \(3 \.tif\); .*\.png"):
        SemsegFolder((8, 8), root=str(scene / "depth"))
    with pytest.raises(ConfigError, match=r"samples of shape \(8, 8\), which this dataset cannot give"):
        DepthFolder((8, 8), root=str(scene / "depth"))
    with pytest.raises(BadSample, match="contains the label 143"):
        SemsegFolder((8, 8), root=str(scene / "labels"), num_classes=143).load(0, random=Random(0))


def reconstruction(sample, prediction):
    hidden = torch.zeros(sample.shape, dtype=torch.bool)
    hidden[..., :4] = True
    return Reconstruction("a", "", sample, hidden, prediction, None, 0.5, 1.0)


def test_colours_of_classes_differ_and_are_never_grey():
    table = colours(torch.arange(133).reshape(7, 19)).flatten(1).T
    assert table.shape == (133, 3)
    assert len({tuple(row) for row in (table * 255).round().int().tolist()}) == 133
    assert ((table.max(1).values - table.min(1).values) > 0.2).all()
    assert torch.equal(colours(torch.tensor([[5.0]])).flatten(), table[5])


def test_pictures_show_labels_in_their_colours(tmp_path):
    sample = torch.arange(64.0).reshape(8, 8) % 5
    write_semseg_picture([reconstruction(sample, sample.flip(0))], tmp_path / "a.png")
    shown = reconstruction(colours(sample), colours(sample.flip(0)))
    sheet = compose([shown])
    with Image.open(tmp_path / "a.png") as picture:
        for column, panel in enumerate(panels(shown)):
            left, top = sheet.origin(0, column)
            for row in range(8):
                found = picture.getpixel((left + 6 * sheet.factor, top + row * sheet.factor))
                assert found == tuple((panel.values.nan_to_num(0.5)[:, row, 6] * 255).round().int().tolist())


def test_pictures_show_depth_in_grey(tmp_path):
    sample = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    write_picture([reconstruction(sample, 1 - sample)], tmp_path / "a.png")
    sheet = compose([reconstruction(sample, sample)])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.getpixel(sheet.origin(0, 0)) == (0, 0, 0)
        assert picture.getpixel(sheet.origin(0, 1)) == (128, 128, 128)
        assert picture.getpixel(sheet.origin(0, 2)) == (255, 255, 255)


@pytest.mark.parametrize("side", [224, 448])
def test_photographs_and_labels_show_the_same_part_at_any_size(side, tmp_path):
    labels = (np.indices((500, 600)).sum(axis=0) // 60).astype(np.uint8)
    save(tmp_path / "labels.png", labels)
    Image.fromarray(labels * 13).convert("RGB").save(tmp_path / "photo.png")
    semseg = read_semseg(
        tmp_path / "labels.png", SemsegPatches(8, input_size=(side, side), patch_size=(16, 16), num_classes=20)
    )
    photo = read_image(tmp_path / "photo.png", ImagePatches(8, input_size=(side, side)))
    same = (photo[0, 2::4, 2::4].float() / 13).round() == semseg
    assert float(same.float().mean()) > 0.9
