"""Photographs to train on: a folder of files, and CIFAR-10; all cropped alike.

Folders of depth maps and of class labels are cropped as the photographs that they belong to.
"""

import functools
from collections.abc import Sequence
from random import Random
from typing import Annotated, Literal

import torch
import torchvision
from pydantic import Field
from torch import Tensor

from mae_core.data.folders import FileFolder, spread
from mae_core.data.listing import absolute
from mae_core.interfaces import Dataset, Labels, Preview, Sample
from mae_core.interfaces.numbers import Positive, PositiveRange, Probability, Share, ShareRange
from mae_image.augmentations import Augmentations
from mae_image.colors import Strength
from mae_image.crops import Crop, Interpolation, RandomCrop, center_crop
from mae_image.modality import DEPTH, IMAGE, SEMSEG
from mae_image.reading import MAX_PIXELS, read_rgb
from mae_image.scene_files import center_labels, read_depth_map, read_labels
from mae_registry import ConfigError


class ImageFolder(FileFolder):
    """The photographs of a folder and of the folders in it; see `FileFolder`.

    Args:
        root: the folder, or where shards or Parquet files are.
        labels, split, balanced, extras, in_memory, cache: see `FileFolder`.
        crop: "random_size" crops a random share of the photograph, "fixed_size" and "center" one of the size of the evaluation
            crop, at a random place or in the middle.
        crop_scale, crop_ratio: range of the area of a crop of random size, and of its width / height.
        flip: probability of a horizontal flip.
        color_jitter: largest change of brightness, contrast and saturation, as a share; 0: none.
        interpolation: how crops are resized.
        single_try: the random crop of MAE's linear probe, which is cut to fit where others are drawn again.
        auto_augment: a RandAugment in timm's words, such as rand-m9-mstd0.5-inc1, after crop and flip.
        crop_share: side of the central crop of evaluation over the side that the photograph is resized to before; null: 0.875,
            and 1 for samples of more than 224 pixels, as published.
        max_pixels: a photograph of more is a bad sample.
        scaled_decoding: decode a JPEG at a half, a quarter or an eighth of its size where the random crop has pixels enough. It
            is faster for large photographs, and crops differ by a few grey values.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        labels: str | None = None,
        split: str | None = None,
        balanced: Positive | None = None,
        extras: tuple[str, ...] | None = None,
        in_memory: bool = False,
        cache: str | None = None,
        crop: Crop = "random_size",
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
        single_try: bool = False,
        color_jitter: Strength = 0.0,
        auto_augment: str | None = None,
        crop_share: Share | None = None,
        max_pixels: Positive = MAX_PIXELS,
        scaled_decoding: bool = False,
    ) -> None:
        self._augmentations = Augmentations(
            sample_shape,
            crop=crop,
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            flip=flip,
            interpolation=interpolation,
            single_try=single_try,
            color_jitter=color_jitter,
            auto_augment=auto_augment,
            crop_share=crop_share,
        )
        super().__init__(
            root,
            modality=IMAGE,
            what="photographs",
            labels=labels,
            split=split,
            balanced=balanced,
            extras=extras,
            in_memory=in_memory,
            cache=cache,
        )
        self._max_pixels = max_pixels
        self._scaled_decoding = scaled_decoding

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of one file, uint8."""
        if self._scaled_decoding:
            read = functools.partial(read_rgb, self.file(index), max_pixels=self._max_pixels)
            return self.labelled(self._augmentations.load(lambda scale: read(scale=scale), random=random), index)
        return self.labelled(self._augmentations.augmented(self._photograph(index), random=random), index)

    def read(self, index: int) -> Tensor | Sample:
        """The central crop of one file, uint8. Raises BadSample."""
        return self.labelled(self._augmentations.central(self._photograph(index)), index)

    def _photograph(self, index: int) -> Tensor:
        return read_rgb(self.file(index), max_pixels=self._max_pixels)


class DepthFolder(FileFolder):
    """The depth maps of a folder, grey pixels of 8, 16 or 32 bits in any unit; see `FileFolder`.

    Paired with photographs of the same pixels, in the same order and with the same options, they are cropped and flipped alike.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        crop_share: Share | None = None,
    ) -> None:
        self._share = crop_share
        self._crop = RandomCrop(sample_shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation="bilinear")
        super().__init__(root, modality=DEPTH, what="depth maps")

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of one file, float32."""
        return self.labelled(self._crop(read_depth_map(self.file(index)), random=random), index)

    def read(self, index: int) -> Tensor | Sample:
        """The central crop of one file, float32. Raises BadSample."""
        depth = read_depth_map(self.file(index))
        return self.labelled(center_crop(depth, self._crop.sample_shape, share=self._share, interpolation="bilinear"), index)


class SemsegFolder(FileFolder):
    """The label maps of a folder, class numbers as indices of a palette or grey pixels of 8 bits; see `FileFolder`.

    Paired with photographs of the same pixels, in the same order and with the same options, they are cropped and flipped alike.

    Args:
        num_classes: the tokenizer's; a file with a larger label is a bad sample.
        crop_share: that of the photographs, which must be given where these are samples of more than 224 pixels.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        num_classes: Annotated[int, Field(ge=2)] = 133,
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        crop_share: Share | None = None,
    ) -> None:
        self._share = crop_share
        shape = (1, *sample_shape)
        self._crop = RandomCrop(shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation="nearest-exact")
        self._num_classes = num_classes
        super().__init__(root, modality=SEMSEG, what="label maps")

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of one file, int64."""
        return self.labelled(self._crop(self._labels(index), random=random)[0].long(), index)

    def read(self, index: int) -> Tensor | Sample:
        """The central crop of one file, int64. Raises BadSample."""
        return self.labelled(center_labels(self._labels(index), self._crop.sample_shape[1:], share=self._share), index)

    def _labels(self, index: int) -> Tensor:
        return read_labels(self.file(index), num_classes=self._num_classes)


class Cifar10(Dataset):
    """CIFAR-10 (Krizhevsky 2009): 50,000 training or 10,000 test photographs of 32 x 32 pixels, in the published files.

    Each photograph comes with its label. The options are those of `ImageFolder`.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        split: Literal["train", "test"] = "train",
        download: bool = False,
        crop: Crop = "random_size",
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
        single_try: bool = False,
        color_jitter: Strength = 0.0,
        auto_augment: str | None = None,
        crop_share: Share | None = None,
    ) -> None:
        self._augmentations = Augmentations(
            sample_shape,
            crop=crop,
            crop_scale=crop_scale,
            crop_ratio=crop_ratio,
            flip=flip,
            interpolation=interpolation,
            single_try=single_try,
            color_jitter=color_jitter,
            auto_augment=auto_augment,
            crop_share=crop_share,
        )
        key = f"data.{IMAGE.name}.root"
        self._root = absolute(root, key=key, what="the folder that holds cifar-10-batches-py, or will")
        self._split = split
        self._images, self.labels = self._read_split(split, download=download)

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of one photograph, with its label."""
        return self.labelled(self._augmentations.augmented(self._images[index], random=random), index)

    def read(self, index: int) -> Tensor | Sample:
        """The central crop of one photograph, with its label."""
        return self.labelled(self._augmentations.central(self._images[index]), index)

    def describe(self, index: int) -> str:
        """The split and the number in it, in the order of the published files."""
        return f"{self._root}: CIFAR-10 {self._split} {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """Photographs spread evenly over the other split, which is held out."""
        other = "test" if self._split == "train" else "train"
        images, _ = self._read_split(other, download=False)
        central = self._augmentations.central
        indices = spread(count, len(images))
        return [Preview(f"CIFAR-10 {other} {index}", central(images[index]), "held out") for index in indices]

    def _read_split(self, split: str, *, download: bool) -> tuple[Tensor, Labels]:
        """(N, 3, 32, 32) uint8, and their labels."""
        try:
            found = torchvision.datasets.CIFAR10(self._root, train=split == "train", download=download)
        except (RuntimeError, OSError) as error:
            advice = "" if download else "; give data.image.download=true to fetch it (170 MB)"
            raise ConfigError(f"cifar10: there is no complete CIFAR-10 in {self._root}: {error}{advice}") from error
        # the published order of its classes, airplane to truck, is the alphabet's
        labels = Labels(tuple(found.classes), torch.tensor(found.targets))
        return torch.from_numpy(found.data).permute(0, 3, 1, 2), labels
