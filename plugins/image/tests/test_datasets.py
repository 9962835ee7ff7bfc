import hashlib
import pickle
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from mae_core.data.rand_augment import RandAugment
from mae_core.interfaces import BadSample
from mae_image import demo, reading
from mae_image.crops import RandomCrop, center_crop
from mae_image.datasets import Cifar10, ImageFolder
from mae_image.demo import PHOTOGRAPHS, Photographs
from mae_image.reading import read_rgb
from mae_registry import ConfigError

SHAPE = (3, 16, 16)


def save(path, colour="red", size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG")


def test_image_folder_takes_photographs_by_suffix(tmp_path):
    for name in ("a.JPG", "b.jpeg", "c.png", "d.webp", "e/f.tif", "g.tiff", "h.bmp", "i.txt"):
        save(tmp_path / name)
    folder = ImageFolder(SHAPE, root=str(tmp_path))
    assert [folder.name(index) for index in range(len(folder))] == [
        *("a.JPG", "b.jpeg", "c.png", "d.webp", "e/f.tif", "g.tiff", "h.bmp")
    ]
    with pytest.raises(ConfigError, match=r"add data\.image\.root=DIR, a folder of photographs"):
        ImageFolder(SHAPE)


def test_labels_are_the_folders_and_travel_with_the_photographs(tmp_path):
    for name in ("dog/a.png", "cat/b.png", "cat/deep/c.png"):
        save(tmp_path / name)
    samples = [ImageFolder(SHAPE, root=str(tmp_path), labels="folders").load(i, random=Random(0)) for i in range(3)]
    assert [int(sample.extras["label"]) for sample in samples] == [0, 0, 1]
    assert samples[0].x.shape == SHAPE
    assert torch.equal(ImageFolder(SHAPE, root=str(tmp_path)).load(0, random=Random(0)), samples[0].x)
    save(tmp_path / "loose.png")
    with pytest.raises(ConfigError, match=r"loose\.png"):
        ImageFolder(SHAPE, root=str(tmp_path), labels="folders")


def test_photographs_are_cropped_and_flipped_and_then_changed_by_rand_augment(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    plain = ImageFolder(SHAPE, root=str(tmp_path))
    folder = ImageFolder(SHAPE, root=str(tmp_path), auto_augment="rand-m9-mstd0.5-inc1")
    augment = RandAugment("rand-m9-mstd0.5-inc1", size=SHAPE[1:], fill=(124, 116, 104))
    for seed in range(20):
        random = Random(seed)
        crop = RandomCrop(SHAPE, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5, interpolation="bicubic")
        assert torch.equal(plain.load(0, random=Random(seed)), cropped := crop(read_rgb(tmp_path / "a.png"), random=random))
        assert torch.equal(folder.load(0, random=Random(seed)), augment(cropped, random=random))
    assert torch.equal(folder.read(0), plain.read(0))
    with pytest.raises(ConfigError, match="auto_augment changes colours, but the tokenizer takes 1 channel"):
        ImageFolder((1, 16, 16), root=str(tmp_path), auto_augment="rand-m9")


def test_the_evaluation_crop_can_be_the_whole(cifar10):
    whole = Cifar10((3, 32, 32), root=str(cifar10), split="test", crop_share=1.0)
    image = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (10, 3072), np.uint8)[4].reshape(3, 32, 32))
    assert torch.equal(whole.read(4).x, image)
    assert not torch.equal(Cifar10((3, 32, 32), root=str(cifar10), split="test").read(4).x, image)


def test_large_photographs_can_be_allowed(tmp_path):
    save(tmp_path / "a.png", size=(40, 50))
    with pytest.raises(BadSample, match=r"more than 1,999 pixels; .*max_pixels"):
        ImageFolder(SHAPE, root=str(tmp_path), max_pixels=1999).load(0, random=Random(0))
    assert ImageFolder(SHAPE, root=str(tmp_path), max_pixels=2000).load(0, random=Random(0)).shape == SHAPE


def test_image_folder_load(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no image")
    folder = pickle.loads(pickle.dumps(ImageFolder(SHAPE, root=str(tmp_path))))
    sample = folder.load(0, random=Random(5))
    assert sample.dtype == torch.uint8
    assert sample.shape == SHAPE
    assert torch.equal(folder.load(0, random=Random(5)), sample)
    assert not torch.equal(folder.load(0, random=Random(6)), sample)
    with pytest.raises(BadSample, match=f"{tmp_path}/b.jpg: it is not an image"):
        folder.load(1, random=Random(0))


def test_image_folder_previews_are_central_crops(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", (number, 0, 0))
    previews = ImageFolder(SHAPE, root=str(tmp_path)).previews(2)
    assert [preview.title for preview in previews] == ["0.png", "2.png"]
    assert torch.equal(previews[1].sample, center_crop(read_rgb(tmp_path / "2.png"), SHAPE))


def large(height, width):
    """A photograph of few details."""
    rows, columns = np.mgrid[0:height, 0:width] / 100
    return Image.fromarray((127 + 120 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)).astype(np.uint8))


def test_scaled_decoding_gives_nearly_the_same_crops_of_large_photographs_and_the_same_of_small_ones(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    large(301, 403).save(tmp_path / "large.jpg", quality=95)
    large(301, 403).save(tmp_path / "large.png")
    large(301, 403).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    large(30, 40).save(tmp_path / "small.jpg")
    decode, sizes = reading.decode_jpeg, []
    monkeypatch.setattr(reading, "decode_jpeg", lambda *given, **options: sizes.append(options) or decode(*given, **options))
    plain, scaled = (ImageFolder(SHAPE, root=str(tmp_path), scaled_decoding=scaled) for scaled in (False, True))
    for index in range(4):
        for seed in range(4):
            first, second = (dataset.load(index, random=Random(seed)).int() for dataset in (plain, scaled))
            assert (first - second).abs().float().mean() < 4
            assert torch.equal(first, second) or plain.name(index) in ("large.jpg", "turned.jpg")
    assert {"min_height": 38, "min_width": 51} in sizes  # an eighth


def test_the_divisor_leaves_pixels_enough():
    crop = RandomCrop(SHAPE, scale=(0.1, 1.0), ratio=(0.5, 2.0), flip=0.5, interpolation="bicubic")
    for seed in range(200):
        cut = crop.draw(100 + seed, 150, random=Random(seed))
        by = crop.divisor(cut)
        assert by == 1 or min(cut.box.height, cut.box.width) >= 16 * by
        assert by == 8 or min(cut.box.height, cut.box.width) < 32 * by
        height, width = -(-cut.size[0] // by), -(-cut.size[1] // by)
        assert crop.cut(torch.zeros(3, height, width, dtype=torch.uint8), cut).shape == SHAPE


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Ten photographs a file in the published format, whose checksums take the place of the published ones."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def write(name, seed):
        data = np.random.default_rng(seed).integers(0, 256, (10, 3072), np.uint8)
        content = pickle.dumps({"data": data, "labels": list(range(10))}, protocol=2)
        (folder / name).write_bytes(content)
        return [name, hashlib.md5(content).hexdigest()]

    monkeypatch.setattr(CIFAR10, "train_list", [write(f"data_batch_{number}", number) for number in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", 6)])
    meta = pickle.dumps({"label_names": list("abcdefghij")})
    (folder / "batches.meta").write_bytes(meta)
    summary = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(CIFAR10, "meta", summary)
    return tmp_path


def test_cifar10(cifar10):
    train, test = Cifar10(SHAPE, root=str(cifar10)), Cifar10(SHAPE, root=str(cifar10), split="test")
    assert (len(train), len(test)) == (50, 10)
    assert test.describe(3) == f"{cifar10}: CIFAR-10 test 3"
    # the published rows are the planes of red, green and blue
    image = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (10, 3072), np.uint8)[4].reshape(3, 32, 32))
    whole = Cifar10((3, 32, 32), root=str(cifar10), split="test", crop_scale=(1, 1), crop_ratio=(1, 1), flip=0)
    assert torch.equal(whole.load(4, random=Random(0)).x, image)
    assert train.load(0, random=Random(0)).x.shape == SHAPE


def test_cifar10_knows_its_labels(cifar10):
    dataset = Cifar10(SHAPE, root=str(cifar10))
    assert dataset.labels.names == tuple("abcdefghij")
    assert dataset.labels.counts().tolist() == [5] * 10
    assert int(dataset.read(14).extras["label"]) == 4
    labels = [dataset.load(index, random=Random(0)).extras["label"] for index in (3, 14)]
    assert [int(label) for label in labels] == [3, 4]
    assert {(label.dtype, label.shape) for label in labels} == {(torch.int64, ())}


def test_cifar10_previews_come_from_the_other_split(cifar10):
    train = Cifar10(SHAPE, root=str(cifar10))
    previews = train.previews(2)
    assert [(preview.title, preview.note) for preview in previews] == [
        ("CIFAR-10 test 0", "held out"),
        ("CIFAR-10 test 5", "held out"),
    ]
    image = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (10, 3072), np.uint8)[5].reshape(3, 32, 32))
    assert torch.equal(previews[1].sample, center_crop(image, SHAPE))
    other = Cifar10(SHAPE, root=str(cifar10), split="test").previews(1)
    assert [preview.title for preview in other] == ["CIFAR-10 train 0"]


def test_cifar10_errors(cifar10, tmp_path):
    with pytest.raises(ConfigError, match=r"add data\.image\.root=DIR, the folder that holds cifar-10-batches-py"):
        Cifar10(SHAPE)
    (cifar10 / CIFAR10.base_folder / "data_batch_2").write_bytes(b"damaged")
    for root in (cifar10, tmp_path / "none"):
        with pytest.raises(ConfigError) as caught:
            Cifar10(SHAPE, root=str(root))
        assert str(caught.value).startswith(f"cifar10: there is no complete CIFAR-10 in {root}: ")
        assert "data.image.download=true" in str(caught.value)


def test_photographs_are_bundled_and_held_out_ones_are_not_trained_on():
    train, held_out = Photographs(SHAPE), Photographs(SHAPE, split="held_out")
    trained = {Path(train.describe(index)).name for index in range(len(train))}
    assert (len(train), len(held_out)) == (10, 2)
    assert trained.isdisjoint(Path(held_out.describe(index)).name for index in range(2))
    assert {"motorcycle_left.png", "motorcycle_right.png"} <= trained  # one scene: never one on either side
    for index in range(len(train)):
        assert train.load(index, random=Random(0)).shape == SHAPE


def test_photographs_repeats_make_the_epoch_longer():
    photographs = Photographs(SHAPE, repeats=3)
    assert len(photographs) == 30
    assert photographs.describe(0) == photographs.describe(10) == photographs.describe(20)
    assert torch.equal(photographs.load(0, random=Random(1)), photographs.load(10, random=Random(1)))


def test_photographs_previews_begin_with_those_held_out():
    notes = [(preview.title, preview.note) for preview in Photographs(SHAPE).previews(3)]
    assert notes == [("chelsea.png", "held out"), ("coffee.png", "held out"), ("astronaut.png", "training")]
    assert len(Photographs(SHAPE).previews(99)) == 12
    other = [(preview.title, preview.note) for preview in Photographs(SHAPE, split="held_out").previews(12)]
    assert other[9:11] == [
        ("moon.png", "held out"),
        ("chelsea.png", "training"),
    ]


def test_photographs_are_decoded_once_and_not_sent_to_workers(monkeypatch):
    paths = []
    monkeypatch.setattr(demo, "read_rgb", lambda path: paths.append(path.name) or read_rgb(path))
    photographs = Photographs(SHAPE, repeats=2)
    for index in (0, 0, 10):
        photographs.load(index, random=Random(0))
    assert paths == [PHOTOGRAPHS["train"][0]]
    sent = pickle.dumps(photographs)
    assert len(sent) < 10_000
    assert torch.equal(pickle.loads(sent).load(0, random=Random(2)), photographs.load(0, random=Random(2)))


@pytest.mark.parametrize("make", [ImageFolder, Cifar10, Photographs])
def test_channels_are_checked_first(make):
    with pytest.raises(ConfigError, match="takes 2 channels; photographs give 3"):
        make((2, 16, 16))
    with pytest.raises(ConfigError, match="crop_scale"):
        make(SHAPE, crop_scale=(0.5, 0.1))


def test_grey_samples_of_oblong_shape():
    sample = Photographs((1, 16, 48)).load(0, random=Random(0))
    assert sample.shape == (1, 16, 48)
    assert sample.dtype == torch.uint8
