import contextlib
import hashlib
import os
import pickle
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from mae_core.interfaces import BadSample
from mae_image import datasets
from mae_image.crops import center_crop
from mae_image.datasets import PHOTOGRAPHS, Cifar10, ImageFolder, Photographs
from mae_image.reading import read_rgb
from mae_registry import ConfigError

SHAPE = (3, 16, 16)


def save(path, colour="red", size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "PNG")


def names(folder, root):
    return [os.path.relpath(folder.describe(index), root) for index in range(len(folder))]


def test_image_folder_lists_by_suffix_in_order(tmp_path):
    wanted = ["Z.TIF", "a/b/x.JPEG", "a/y.jpg", "b.webp", "b/1.png", "b/2.bmp", "ü.tiff"]
    for name in [*wanted, "a/.DS_Store", "a/._y.jpg", ".hidden/x.png", "a/notes.txt", "jpg"]:
        save(tmp_path / name)
    folder = ImageFolder(SHAPE, root=str(tmp_path))
    assert len(folder) == 7
    assert names(folder, tmp_path) == sorted(wanted, key=os.fsencode)
    assert folder.describe(0) == str(tmp_path / "Z.TIF")


def test_image_folder_takes_names_that_are_not_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    save(tmp_path / "a.png", "blue")
    os.rename(tmp_path / "a.png", path)
    folder = ImageFolder(SHAPE, root=str(tmp_path))
    assert os.fsencode(folder.describe(0)) == path
    assert folder.load(0, random=Random(0))[2].unique().tolist() == [255]


def test_image_folder_follows_links_once_and_no_cycles(tmp_path):
    save(tmp_path / "elsewhere" / "far.png")
    root = tmp_path / "root"
    save(root / "b" / "near.png")
    (root / "b" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "file.png").symlink_to(root / "b" / "near.png")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert names(ImageFolder(SHAPE, root=str(root)), root) == ["a/far.png", "b/near.png", "file.png"]


@pytest.mark.parametrize("backwards", [False, True])
def test_which_way_into_a_folder_is_taken_does_not_depend_on_the_disk(backwards, tmp_path, monkeypatch):
    save(tmp_path / "elsewhere" / "far.png")
    for name in "cab":
        (tmp_path / "root").mkdir(exist_ok=True)
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    scandir = os.scandir

    def in_order(path):
        return contextlib.nullcontext(sorted(scandir(path), key=lambda entry: entry.name, reverse=backwards))

    monkeypatch.setattr(os, "scandir", in_order)
    root = tmp_path / "root"
    assert names(ImageFolder(SHAPE, root=str(root)), root) == ["a/far.png"]


def test_image_folder_expands_home_and_relative_paths(tmp_path, monkeypatch):
    save(tmp_path / "photos" / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("~/photos", "photos", "./photos/"):
        assert ImageFolder(SHAPE, root=root).describe(0) == str(tmp_path / "photos" / "a.png")


def test_image_folder_errors_say_what_is_wrong_and_where(tmp_path):
    (tmp_path / "file.jpg").touch()
    (tmp_path / "bare").mkdir()
    for name in ("a.npy", "b.npy", "README"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / name).touch()
    suffixes = ".jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp"
    for root, message in (
        (None, "image_folder does not know where the data are: give data.image.root=DIR, a folder of photographs"),
        (tmp_path / "none", f"data.image.root: there is no folder {tmp_path}/none"),
        (tmp_path / "file.jpg", f"data.image.root: {tmp_path}/file.jpg is a file; give the folder that holds the photographs"),
        (tmp_path / "bare", f"data.image.root: {tmp_path}/bare holds no files at all but no photographs; read are {suffixes}"),
        (
            tmp_path / "other",
            f"data.image.root: {tmp_path}/other holds 3 other files (2 .npy, 1 without a suffix) but no photographs; "
            f"read are {suffixes}",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            ImageFolder(SHAPE, root=root and str(root))
        assert str(caught.value) == message


def test_image_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=f"{tmp_path} cannot be listed: Permission denied"):
        ImageFolder(SHAPE, root=str(tmp_path))


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
    with pytest.raises(BadSample, match=f"{tmp_path}/b.jpg: not an image"):
        folder.load(1, random=Random(0))


def test_image_folder_previews_are_spread_and_skip_what_cannot_be_read(tmp_path):
    for number in range(10):
        save(tmp_path / f"{number}.png", (number, 0, 0))
    folder = ImageFolder(SHAPE, root=str(tmp_path))
    previews = folder.previews(3)
    assert [(preview.title, preview.note) for preview in previews] == [
        ("0.png", "training"),
        ("3.png", "training"),
        ("6.png", "training"),
    ]
    assert [preview.sample[0, 0, 0].item() for preview in previews] == [0, 3, 6]
    (tmp_path / "3.png").write_text("")
    assert [preview.title for preview in folder.previews(3)] == ["0.png", "6.png"]
    assert len(folder.previews(99)) == 9
    assert folder.previews(0) == []


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
    assert torch.equal(whole.load(4, random=Random(0)), image)
    assert train.load(0, random=Random(0)).shape == SHAPE


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
    with pytest.raises(ConfigError, match=r"cifar10 does not know where the data are: give data\.image\.root=DIR"):
        Cifar10(SHAPE)
    (cifar10 / CIFAR10.base_folder / "data_batch_2").write_bytes(b"damaged")
    for root in (cifar10, tmp_path / "none"):
        with pytest.raises(ConfigError) as caught:
            Cifar10(SHAPE, root=str(root))
        assert str(caught.value).startswith(f"cifar10: no complete CIFAR-10 in {root}: ")
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
    monkeypatch.setattr(datasets, "read_rgb", lambda path: paths.append(path.name) or read_rgb(path))
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
