from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mae_image.crops import MAX_STRIP, RandomCrop, center_crop
from mae_registry import ConfigError


def make_crop(sample_shape=(3, 224, 224), *, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, interpolation="bicubic"):
    return RandomCrop(sample_shape, scale=scale, ratio=ratio, flip=flip, interpolation=interpolation)


def noise(height, width, seed=0):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_ratio_is_relative_to_the_sample():
    crop = make_crop((3, 50, 200), scale=(0.1, 0.1), ratio=(1.0, 1.0))
    box = crop.draw_box(400, 400, random=Random(0))
    assert box.width / box.height == pytest.approx(4, abs=0.05)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crops_agree_with_pillow(interpolation):
    image = F.gaussian_blur(noise(180, 240), [5, 5])
    crop = make_crop((3, 64, 64), interpolation=interpolation, flip=0.0)
    box = crop.draw_box(180, 240, random=Random(3))
    cut = image[:, box.top : box.top + box.height, box.left : box.left + box.width]
    assert torch.equal(
        crop(image, random=Random(3)),
        F.resize(cut.contiguous(), [64, 64], interpolation=InterpolationMode(interpolation), antialias=True),
    )
    resample = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]
    slow = np.array(Image.fromarray(cut.permute(1, 2, 0).numpy()).resize((64, 64), resample))
    difference = (crop(image, random=Random(3)).permute(1, 2, 0).int() - torch.from_numpy(slow).int()).abs()
    assert difference.max() <= 1


def test_flip_mirrors_the_same_crop_as_often_as_asked():
    image = noise(40, 60)
    for seed in range(5):
        plain = make_crop((3, 16, 16), flip=0.0)(image, random=Random(seed))
        assert torch.equal(make_crop((3, 16, 16), flip=1.0)(image, random=Random(seed)), plain.flip(2))
    plain, maybe = make_crop((3, 8, 8), flip=0.0), make_crop((3, 8, 8), flip=0.3)
    flipped = sum(not torch.equal(maybe(image, random=Random(s)), plain(image, random=Random(s))) for s in range(400))
    assert 90 < flipped < 150


def test_only_the_given_generator_counts():
    image, crop = noise(40, 60), make_crop((3, 16, 16))
    first = crop(image, random=Random(7))
    torch.manual_seed(1)
    assert torch.equal(crop(image, random=Random(7)), first)
    assert not torch.equal(crop(image, random=Random(8)), first)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("sample_shape", [(3, 32, 32), (1, 32, 48), (3, 224, 224)])
def test_tiny_images(size, sample_shape):
    image = torch.full((3, *size), 100, dtype=torch.uint8)
    for sample in (make_crop(sample_shape)(image, random=Random(0)), center_crop(image, sample_shape)):
        assert torch.equal(sample, torch.full(sample_shape, 100, dtype=torch.uint8))
        assert sample.is_contiguous()


@pytest.mark.parametrize(("height", "width"), [(300, 401), (401, 300), (256, 256), (100, 130), (224, 777)])
def test_center_crop_is_resize_256_and_center_crop_224(height, width):
    image = noise(height, width)
    expected = F.resize(image, [256], interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(center_crop(image, (3, 224, 224)), F.center_crop(expected, [224, 224]))


def test_center_crop_keeps_proportions_for_oblong_samples():
    # a disc stays round: as wide as it is high
    rows, cols = torch.meshgrid(torch.arange(400), torch.arange(400), indexing="ij")
    disc = (255 * ((rows - 199.5) ** 2 + (cols - 199.5) ** 2 < 50**2)).to(torch.uint8).expand(3, -1, -1)
    inside = center_crop(disc, (3, 70, 210))[0] > 127
    assert abs(int(inside.any(0).sum()) - int(inside.any(1).sum())) <= 1
    assert int(inside.any(0).sum()) == pytest.approx(100 * 240 / 400, abs=1)


def test_a_long_strip_is_shown_by_its_middle_without_gigabytes():
    strip = torch.zeros(3, 1, 60_000, dtype=torch.uint8)
    strip[:, :, 30_000 - MAX_STRIP : 30_000 + MAX_STRIP] = 200
    assert center_crop(strip, (3, 224, 224)).unique().tolist() == [200]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_shape": (4, 8, 8)}, "the tokenizer takes 4 channels; photographs give 3 (RGB) or 1 (luminance)"),
        ({"scale": (0.9, 0.2)}, "crop_scale is [0.9, 0.2]; it must be two numbers above 0, at most 1, the lower one first"),
        ({"scale": (0.5, 1.5)}, "crop_scale is [0.5, 1.5]"),
        ({"ratio": (0.0, 1.0)}, "crop_ratio is [0, 1]; it must be two numbers above 0, the lower one first"),
    ],
)
def test_wrong_parameters(options, message):
    with pytest.raises(ConfigError) as caught:
        make_crop(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("side", "resized"), [(224, 256), (64, 73), (225, 225), (448, 448)])
def test_above_224_pixels_the_central_crop_is_the_whole_shorter_side(side, resized):
    image = noise(side * 2, side * 3)
    expected = F.resize(image, [resized], interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(center_crop(image, (3, side, side)), F.center_crop(expected, [side, side]))


def test_the_share_of_the_central_crop_can_be_given():
    image = noise(32, 32)
    assert torch.equal(center_crop(image, (3, 32, 32), share=1.0), image)
    expected = F.resize(image, [64], interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(center_crop(image, (3, 32, 32), share=0.5), F.center_crop(expected, [32, 32]))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 64), (64, 100), (7, 300)])
def test_crops_of_fixed_size_are_the_evaluation_crop_at_a_random_place(height, width):
    def boxes(kind):
        crop = RandomCrop((3, 56, 56), scale=(0.2, 1), ratio=(1, 1), flip=0, interpolation="bicubic", kind=kind)
        return {crop.draw_box(height, width, random=Random(seed)) for seed in range(60)}

    side = round(0.875 * min(height, width))
    found = boxes("fixed_size")
    assert {(box.height, box.width) for box in found} == {(side, side)}
    assert {box.top for box in found} <= set(range(height - side + 1))
    assert {0, width - side} <= {box.left for box in found} or width == 300
    assert len(found) > 5
    (center,) = boxes("center")
    assert center == ((height - side) // 2, (width - side) // 2, side, side)


def test_the_crop_in_the_middle_is_that_of_evaluation():
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(170), indexing="ij")
    image = torch.stack([rows, columns, rows]).to(torch.uint8)
    crop = RandomCrop((3, 56, 56), scale=(0.2, 1), ratio=(1, 1), flip=0, interpolation="bicubic", kind="center")
    difference = crop(image, random=Random(0)).int() - center_crop(image, (3, 56, 56)).int()
    assert difference.abs().max() <= 2  # a pixel of the crop is two of the image; resized before and after cutting
