"""Photographs to train on: a folder of files, CIFAR-10, and those that scikit-image carries; all cropped alike.

Folders of depth maps and of class labels are cropped as the photographs that they belong to.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import skimage
import torch
import torchvision
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Dataset, Preview
from mae_image.crops import AreaRange, Interpolation, Probability, RandomCrop, RatioRange, center_crop
from mae_image.folders import FileFolder, absolute, spread
from mae_image.modality import DEPTH, IMAGE, SEMSEG
from mae_image.reading import read_rgb
from mae_image.scene_files import center_labels, read_depth_map, read_labels
from mae_registry import ConfigError


class ImageFolder(FileFolder):
    """The photographs of a folder and of the folders in it; see `FileFolder`."""

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        crop_scale: AreaRange = (0.2, 1.0),
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        self._crop = RandomCrop(sample_shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation=interpolation)
        super().__init__(root, IMAGE, "photographs")

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of one file, uint8."""
        return self._crop(read_rgb(self.describe(index)), random=random)

    def _read_center(self, path: str) -> Tensor:
        return center_crop(read_rgb(path), self._crop.sample_shape)


class DepthFolder(FileFolder):
    """The depth maps of a folder, grey pixels of 8, 16 or 32 bits in any unit; see `FileFolder`.

    Paired with photographs of the same pixels, in the same order and with the same options, they are cropped and flipped alike.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        crop_scale: AreaRange = (0.2, 1.0),
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
    ) -> None:
        self._crop = RandomCrop(sample_shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation="bilinear")
        super().__init__(root, DEPTH, "depth maps")

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of one file, float32."""
        return self._crop(read_depth_map(self.describe(index)), random=random)

    def _read_center(self, path: str) -> Tensor:
        return center_crop(read_depth_map(path), self._crop.sample_shape, interpolation="bilinear")


class SemsegFolder(FileFolder):
    """The label maps of a folder, class numbers as indices of a palette or grey pixels of 8 bits; see `FileFolder`.

    Paired with photographs of the same pixels, in the same order and with the same options, they are cropped and flipped alike.

    Args:
        num_classes: the tokenizer's; a file with a larger label is a bad sample.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        num_classes: Annotated[int, Field(ge=2)] = 133,
        crop_scale: AreaRange = (0.2, 1.0),
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
    ) -> None:
        shape = (1, *sample_shape)
        self._crop = RandomCrop(shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation="nearest-exact")
        self._num_classes = num_classes
        super().__init__(root, SEMSEG, "label maps")

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of one file, int64."""
        return self._crop(self._read(self.describe(index)), random=random)[0].long()

    def _read_center(self, path: str) -> Tensor:
        return center_labels(self._read(path), self._crop.sample_shape[1:])

    def _read(self, path: str) -> Tensor:
        return read_labels(path, num_classes=self._num_classes)


class Cifar10(Dataset):
    """CIFAR-10 (Krizhevsky 2009): 50,000 training or 10,000 test photographs of 32 x 32 pixels, in the published files."""

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        split: Literal["train", "test"] = "train",
        download: bool = False,
        crop_scale: AreaRange = (0.2, 1.0),
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        self._crop = RandomCrop(sample_shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation=interpolation)
        self._root = absolute(root, IMAGE, "cifar10", "the folder that holds cifar-10-batches-py, or will")
        self._split = split
        self._images = self._read(split, download=download)

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of one photograph."""
        return self._crop(self._images[index], random=random)

    def describe(self, index: int) -> str:
        """The split and the number in it, in the order of the published files."""
        return f"{self._root}: CIFAR-10 {self._split} {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """Photographs spread evenly over the other split, which is held out."""
        other = "test" if self._split == "train" else "train"
        images = self._read(other, download=False)
        shape = self._crop.sample_shape
        indices = spread(count, len(images))
        return [Preview(f"CIFAR-10 {other} {index}", center_crop(images[index], shape), "held out") for index in indices]

    def _read(self, split: str, *, download: bool) -> Tensor:
        """(N, 3, 32, 32) uint8."""
        try:
            data = torchvision.datasets.CIFAR10(self._root, train=split == "train", download=download).data
        except (RuntimeError, OSError) as error:
            advice = "" if download else "; give data.image.download=true to fetch it (170 MB)"
            raise ConfigError(f"cifar10: no complete CIFAR-10 in {self._root}: {error}{advice}") from error
        return torch.from_numpy(data).permute(0, 3, 1, 2)


PHOTOGRAPHS = {
    "train": (
        "astronaut.png",
        "camera.png",
        "motorcycle_left.png",
        "rocket.jpg",
        "coins.png",
        "ihc.png",
        "motorcycle_right.png",  # the same scene as motorcycle_left: both must be on one side
        "retina.jpg",
        "brick.png",
        "moon.png",
    ),
    "held_out": ("chelsea.png", "coffee.png"),
}
"""The true photographs that the scikit-image wheel carries, by split. Nothing is downloaded."""


class Photographs(Dataset):
    """The photographs that scikit-image carries, two of them (a cat, a cup of coffee) held out: enough to see training work.

    An epoch is `repeats` random crops of each.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        split: Literal["train", "held_out"] = "train",
        repeats: Annotated[int, Field(ge=1)] = 1,
        crop_scale: AreaRange = (0.2, 1.0),
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        self._crop = RandomCrop(sample_shape, scale=crop_scale, ratio=crop_ratio, flip=flip, interpolation=interpolation)
        self._folder = Path(skimage.__file__).parent / "data"
        self._names = PHOTOGRAPHS[split]
        self._repeats = repeats
        self._decoded: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._repeats * len(self._names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_decoded": {}}  # workers decode for themselves

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of photograph `index` modulo their number."""
        return self._crop(self._image(self._names[index % len(self._names)]), random=random)

    def describe(self, index: int) -> str:
        """The path of the file in the installed scikit-image."""
        return str(self._folder / self._names[index % len(self._names)])

    def previews(self, count: int) -> Sequence[Preview]:
        """The other split's photographs, which are held out, then this one's."""
        every = [name for names in PHOTOGRAPHS.values() for name in names]
        chosen = sorted(every, key=lambda name: name in self._names)[:count]
        shape = self._crop.sample_shape
        return [
            Preview(name, center_crop(self._image(name), shape), "training" if name in self._names else "held out")
            for name in chosen
        ]

    def _image(self, name: str) -> Tensor:
        if name not in self._decoded:
            self._decoded[name] = read_rgb(self._folder / name)
        return self._decoded[name]
