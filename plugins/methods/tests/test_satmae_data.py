"""SatMAE's data: folders of files, made-up landscapes, and pictures."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from mae_core.interfaces import BadSample, Dataset, Reconstruction, Sample, as_sample
from mae_core.testing import check_dataset, check_modality
from mae_methods.satmae.datasets import BandFolder, DatedFolder
from mae_methods.satmae.demo import SyntheticBands, SyntheticDates
from mae_methods.satmae.landscape import Date, Landscape
from mae_methods.satmae.pictures import compose_bands, write_bands, write_dated
from mae_methods.satmae.reading import read_archive, read_planes
from mae_registry import ConfigError, MaeError

WHOLE: dict[str, Any] = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}
SHAPE = (10, 8, 8)


def planes(num_bands: int, height: int = 8, width: int = 8, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_bands, height, width), dtype=np.uint8)


def write_archive(path: Path, dates: np.ndarray) -> None:
    """Images that have their dates as colours."""
    images = np.broadcast_to(dates[:, None, None, :], (len(dates), 8, 8, 3)).astype(np.uint8)
    np.savez(path, images=images, timestamps=dates)


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    for index in range(2):
        np.save(tmp_path / f"{index}.npy", planes(10, 20, 30, seed=index))
    return tmp_path


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    for index in range(2):
        write_archive(tmp_path / f"{index}.npz", np.arange(15).reshape(5, 3) + index)
    return tmp_path


def test_datasets_keep_their_contract(bands: Path) -> None:
    check_dataset({"name": "satmae_bands_folder", "root": str(bands)}, sample_shape=SHAPE)
    check_dataset({"name": "satmae_synthetic_bands", "count": 3}, sample_shape=SHAPE)
    check_dataset({"name": "satmae_synthetic_bands", "count": 3}, sample_shape=(4, 8, 12))


def test_datasets_of_dates_keep_their_contract(dated: Path) -> None:
    check_dataset({"name": "satmae_dates_folder", "root": str(dated)}, sample_shape=(3, 3, 8, 8))
    check_dataset({"name": "satmae_synthetic_dates", "count": 3}, sample_shape=(3, 3, 8, 8))


def test_files_are_read_by_the_modalities(bands: Path, dated: Path) -> None:
    narrow = {"unit_width": 4}
    parts = {
        "tokenizer": {"input_size": [3, 8, 8], "patch_size": [1, 4, 4]},
        "positions": narrow,
        "decoder_positions": narrow,
        "decoder": {"width": 16, "depth": 1, "heads": 2},
    }
    sample = Sample(torch.rand(3, 3, 3, 8, 8), {"timestamps": torch.zeros(3, 3, 3)})
    check_modality("dated_images", parts, sample=sample, file=dated / "0.npz")
    groups = {
        "tokenizer": {"input_size": [8, 8], "patch_size": [4, 4]},
        "positions": {"group_width": 8},
        "decoder_positions": {"group_width": 4},
        "decoder": {"width": 16, "depth": 1, "heads": 2},
    }
    check_modality("multispectral", groups, file=bands / "0.npy")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("first.npy", lambda path, array: np.save(path, array)),
        ("last.npy", lambda path, array: np.save(path, np.moveaxis(array, 0, 2))),
        ("first.tif", lambda path, array: tifffile.imwrite(path, array, photometric="minisblack")),
        ("last.TIFF", lambda path, array: tifffile.imwrite(path, np.moveaxis(array, 0, 2), photometric="minisblack")),
    ],
)
def test_bands_are_first_or_last(tmp_path: Path, name: str, write: Callable[[Path, np.ndarray], None]) -> None:
    array = planes(5, 9, 7)
    write(tmp_path / name, array)
    assert torch.equal(read_planes(tmp_path / name), torch.from_numpy(array))


def test_bands_are_chosen_and_stretched(tmp_path: Path) -> None:
    array = np.zeros((4, 8, 8), dtype=np.uint16)
    array[1], array[3] = 1000, np.arange(64).reshape(8, 8) * 10
    np.save(tmp_path / "a.npy", array)
    folder = BandFolder((2, 8, 8), root=str(tmp_path), bands=(3, 1), mean=(320.0, 950.0), std=(80.0, 50.0), **WHOLE)
    ramp = np.clip((np.arange(64).reshape(8, 8) * 10 - 160) / 320 * 255, 0, 255).astype(np.uint8)
    expected = torch.stack([torch.from_numpy(ramp), torch.full((8, 8), 191, dtype=torch.uint8)])  # 0.75 x 255, cut off
    assert torch.equal(folder.load(0, random=Random(0)), expected)
    assert torch.equal(folder.read(0), expected)


def test_files_that_a_folder_of_bands_cannot_use(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", planes(4))
    with pytest.raises(BadSample, match="has 4 bands, and band 9 is asked for"):
        BandFolder(SHAPE, root=str(tmp_path)).load(0, random=Random(0))
    np.save(tmp_path / "a.npy", planes(10).astype(np.uint16))
    with pytest.raises(ConfigError, match=r"data\.multispectral\.mean"):
        BandFolder(SHAPE, root=str(tmp_path)).load(0, random=Random(0))
    np.save(tmp_path / "a.npy", planes(10)[0])
    with pytest.raises(BadSample, match="three axes"):
        read_planes(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([[["a"]]], dtype=object), allow_pickle=True)
    with pytest.raises(BadSample, match="cannot be decoded"):
        read_planes(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "options",
    [{"bands": (0, 1)}, {"mean": (1.0,) * 10}, {"mean": (1.0,) * 10, "std": (1.0,) * 9}, {"crop_scale": (0.9, 0.1)}],
    ids=str,
)
def test_options_that_a_folder_of_bands_refuses(bands: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BandFolder(SHAPE, root=str(bands), **options)


def test_crops_are_the_same_for_all_bands(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.repeat(planes(1, 40, 30), 10, axis=0))
    crop = BandFolder(SHAPE, root=str(tmp_path)).load(0, random=Random(3))
    assert torch.equal(crop, crop[:1].expand_as(crop))


def test_images_keep_their_dates(dated: Path) -> None:
    folder = DatedFolder((3, 3, 8, 8), root=str(dated))
    chosen = set()
    for seed in range(8):
        sample = folder.load(1, random=Random(seed))
        assert torch.equal(sample.x[:, :, 0, 0].T.long(), sample.extras["timestamps"])
        assert sample.x.shape == (3, 3, 8, 8)
        chosen.add(tuple(sample.extras["timestamps"][:, 0].tolist()))
    assert len(chosen) > 1
    assert {year for years in chosen for year in years} <= {1, 4, 7, 10, 13}
    (first, _) = folder.previews(2)
    assert first.extras["timestamps"].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((3, 4, 4, 3), np.uint8)}, "it must hold images and timestamps"),
        ({"images": np.zeros((3, 4, 4, 3)), "timestamps": np.zeros((3, 3))}, "it must be bytes of shape"),
        ({"images": np.zeros((3, 4, 4, 3), np.uint8), "timestamps": np.zeros((2, 3))}, r"not \(3, 3\)"),
    ],
)
def test_archives_that_cannot_be_read(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadSample, match=message):
        read_archive(tmp_path / "a.npz")


def test_an_archive_of_too_few_images(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(BadSample, match="holds 2 images; the model takes 3"):
        DatedFolder((3, 3, 8, 8), root=str(tmp_path)).load(0, random=Random(0))


@pytest.mark.parametrize(
    ("dataset", "shape"), [(SyntheticBands, (3, 3, 8, 8)), (SyntheticDates, (10, 8, 8)), (SyntheticDates, (1, 3, 8, 8))]
)
def test_made_up_images_are_of_one_kind_of_sample(dataset: type[Dataset], shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="the tokenizer takes"):
        dataset(shape)


def test_a_landscape_is_greener_in_summer_darker_in_the_evening_and_its_town_grows() -> None:
    def seen(date: Date) -> Tensor:
        return torch.stack([Landscape(64, 64, random=Random(seed)).seen((0.665, 0.842), date) for seed in range(4)])

    def greenness(date: Date) -> float:
        red, infrared = seen(date).unbind(1)
        return float(((infrared - red) / (infrared + red)).mean())

    def change(date: Date) -> float:
        return float((seen(date) - seen(Date(0, 6, 12))).abs().mean())

    assert greenness(Date(0, 6, 12)) > greenness(Date(0, 0, 12)) + 0.1
    assert float(seen(Date(0, 6, 17)).mean()) < 0.8 * float(seen(Date(0, 6, 12)).mean())
    assert change(Date(17, 6, 12)) > change(Date(5, 6, 12)) > 0


def test_made_up_images_follow_their_timestamps() -> None:
    sample = as_sample(SyntheticDates((3, 3, 16, 16)).load(0, random=Random(1)))
    hours = sample.extras["timestamps"][:, 2].double()
    brightness = sample.x.double().mean(dim=(0, 2, 3))
    assert int((hours - 12).abs().argmax()) == int(brightness.argmin())


def reconstruction(sample: Tensor) -> Reconstruction:
    return Reconstruction("a", "", sample, torch.zeros_like(sample, dtype=torch.bool), sample, None, 0.75, 0.1)


@pytest.mark.parametrize(("num_bands", "num_views"), [(10, 3), (4, 1), (2, 1), (1, 1)])
def test_pictures_of_bands(tmp_path: Path, num_bands: int, num_views: int) -> None:
    shown = [reconstruction(torch.rand(num_bands, 16, 16)) for _ in range(2)]
    assert len(compose_bands(shown).rows) == 2 * num_views
    write_bands(shown, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"


def test_colours_are_bands_in_the_order_that_is_said() -> None:
    sample = torch.zeros(10, 4, 4)
    sample[0] = 1.0
    first = compose_bands([reconstruction(sample)]).rows[0]
    assert "bands 2, 1, 0: red, green and" in first.label
    assert torch.equal(first.tiles[0].values[:, 0, 0], torch.tensor([0.0, 0.0, 1.0]))  # band 0 is blue


def test_pictures_of_dates(tmp_path: Path) -> None:
    write_dated([reconstruction(torch.rand(3, 3, 16, 16))], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").is_file()
    with pytest.raises(MaeError, match="nothing to show"):
        write_dated([], tmp_path / "picture.png")
