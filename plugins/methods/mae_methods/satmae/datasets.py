"""Satellite images to train on: folders of files of many bands, and of images with their dates."""

from random import Random

import torch
from torch import Tensor

from mae_core.data.boxes import check_range, largest_box, random_box
from mae_core.data.folders import FileFolder
from mae_core.interfaces import BadSample, Sample, as_sample
from mae_core.interfaces.numbers import PositiveFloat, PositiveRange, Probability, ShareRange
from mae_methods.satmae.bands import Band
from mae_methods.satmae.modality import DATED_IMAGES, MULTISPECTRAL
from mae_methods.satmae.positions import TIMESTAMPS
from mae_methods.satmae.reading import check_axes, read_archive, read_planes, resized
from mae_registry import ConfigError

NUM_DEVIATIONS = 2
"""Standard deviations from the mean, either way, at which a band's values are cut off."""


class BandFolder(FileFolder):
    """Files of many bands, .npy or TIFF, of a folder and of the folders in it; see `FileFolder`.

    Args:
        root: the folder.
        bands: numbers of the bands that are taken from each file, in the order of the model's. Default: all of them. SatMAE
            takes ten of Sentinel-2's thirteen, all but 0, 9 and 10.
        mean, std: of the bands that are taken, in the file's own unit: what is within two standard deviations of the mean
            becomes 0 to 255. Not to be given for files of bytes, which stay as they are.
        crop_scale, crop_ratio: range of the random crop's area, and of its width / height.
        flip: probability of a horizontal flip.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        bands: tuple[Band, ...] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[PositiveFloat, ...] | None = None,
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
    ) -> None:
        self._num_bands, height, width = check_axes(sample_shape, "bands, height, width")
        self._bands = bands or tuple(range(self._num_bands))
        _require_one_each(self._num_bands, bands=self._bands, mean=mean, std=std)
        self._range = None
        if mean is not None and std is not None:
            self._range = torch.tensor(mean).reshape(-1, 1, 1), torch.tensor(std).reshape(-1, 1, 1)
        self._crop = _Crop((height, width), crop_scale, crop_ratio, flip)
        super().__init__(root, modality=MULTISPECTRAL, what="images of many bands")

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of one file, uint8 (bands, H, W)."""
        return self.labelled(self._crop(self._planes(index), random=random), index)

    def read(self, index: int) -> Tensor | Sample:
        """The middle of one file, uint8. Raises BadSample."""
        return self.labelled(self._crop.middle(self._planes(index)), index)

    def _planes(self, index: int) -> Tensor:
        """(bands, H, W) uint8 of one file."""
        planes = read_planes(self.file(index))
        if max(self._bands) >= len(planes):
            raise BadSample(f"{self.describe(index)}: has {len(planes)} bands, and band {max(self._bands)} is asked for")
        planes = planes[list(self._bands)]
        if self._range is not None:
            mean, std = self._range
            lowest, whole = mean - NUM_DEVIATIONS * std, 2 * NUM_DEVIATIONS * std
            return ((planes - lowest) / whole * 255).clamp(0, 255).to(torch.uint8)  # cut off, as published
        if planes.dtype != torch.uint8:
            raise ConfigError(
                f"{self.describe(index)}: its values are not bytes; say what they mean with data.multispectral.mean and "
                "data.multispectral.std, of each band that is taken, in the unit of the file"
            )
        return planes


class DatedFolder(FileFolder):
    """Files of one place at several dates, .npz, of a folder and of the folders in it; see `FileFolder`.

    A file holds `images`, bytes of shape (images, height, width, 3), and `timestamps`, (images, 3): the year less 2002, the
    month less 1, and the hour of each. Of a file of more images than the model takes, some are chosen at random.

    Args:
        root: the folder.
        crop_scale, crop_ratio: range of the random crop's area, and of its width / height; the same for all images of a file.
        flip: probability of a horizontal flip.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
    ) -> None:
        _, self._num_images, height, width = check_axes(sample_shape, "channels, images, height, width")
        self._crop = _Crop((height, width), crop_scale, crop_ratio, flip)
        super().__init__(root, modality=DATED_IMAGES, what="dated images")

    def load(self, index: int, *, random: Random) -> Sample:
        """A random crop of some images of one file, uint8 (3, images, H, W), with their dates."""
        archive = self._archive(index)
        chosen = sorted(random.sample(range(archive.x.shape[1]), self._num_images))
        return self._dated(self._crop(archive.x[:, chosen], random=random), archive.extras[TIMESTAMPS][chosen], index)

    def read(self, index: int) -> Sample:
        """The middle of the first images of one file, uint8, with their dates. Raises BadSample."""
        archive, first = self._archive(index), slice(self._num_images)
        return self._dated(self._crop.middle(archive.x[:, first]), archive.extras[TIMESTAMPS][first], index)

    def _dated(self, x: Tensor, dates: Tensor, index: int) -> Sample:
        return Sample(x, {**as_sample(self.labelled(x, index)).extras, TIMESTAMPS: dates})

    def _archive(self, index: int) -> Sample:
        archive = read_archive(self.file(index))
        if archive.x.shape[1] < self._num_images:
            raise BadSample(f"{self.describe(index)}: holds {archive.x.shape[1]} images; the model takes {self._num_images}")
        return archive


class _Crop:
    """A random resized crop and flip of bytes (..., H, W), the same for all planes."""

    def __init__(self, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float], flip: float) -> None:
        check_range("crop_scale", scale, upper=1.0)
        check_range("crop_ratio", ratio)
        self._size, self._scale, self._ratio, self._flip = size, scale, ratio, flip

    def __call__(self, planes: Tensor, *, random: Random) -> Tensor:
        height, width = planes.shape[-2:]
        aspect = self._size[1] / self._size[0]
        box = random_box(height, width, scale=self._scale, ratio=self._ratio, aspect=aspect, random=random)
        crop = resized(planes, box, self._size)
        return crop.flip(-1) if random.random() < self._flip else crop

    def middle(self, planes: Tensor) -> Tensor:
        """The largest part of the sample's proportions."""
        return resized(planes, largest_box(*planes.shape[-2:], like=self._size), self._size)


def _require_one_each(num_bands: int, **lists: tuple[float, ...] | None) -> None:
    """Raise ConfigError unless bands, mean and std are of as many bands as the model takes, and the last two come together."""
    for name, values in lists.items():
        if values is not None and len(values) != num_bands:
            raise ConfigError(f"{name} has {len(values)} values; the model takes {num_bands} bands: give one for each")
    if (lists["mean"] is None) != (lists["std"] is None):
        raise ConfigError("mean and std must be given together, or not at all")
