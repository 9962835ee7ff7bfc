"""Photographs to train on: a folder of files, CIFAR-10, and those that scikit-image carries; all cropped alike."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import numpy as np
import skimage
import torch
import torchvision
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import BadSample, Dataset, Preview
from mae_image.crops import AreaRange, Interpolation, Probability, RandomCrop, RatioRange, center_crop
from mae_image.modality import IMAGE
from mae_image.reading import read_rgb
from mae_registry import ConfigError


class ImageFolder(Dataset):
    """The image files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Symbolic links to folders are followed, each folder being read once; names that begin with a dot are left out.
    """

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
        self._root = _absolute(root, "image_folder", "a folder of photographs")
        names = _list_images(self._root)
        # one bytes object rather than a million: small, quick to send to workers, and never copied by reference counts
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names])

    def __len__(self) -> int:
        return len(self._ends)

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random crop of one file."""
        return self._crop(read_rgb(self.describe(index)), random=random)

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self._root, self._name(index))

    def previews(self, count: int) -> Sequence[Preview]:
        """Files spread evenly over the folder, all of them training ones; those that cannot be read are left out."""
        previews: list[Preview] = []
        for index in _spread(count, len(self)):
            try:
                sample = center_crop(read_rgb(self.describe(index)), self._crop.sample_shape)
            except BadSample:
                continue
            previews.append(Preview(self._name(index), sample, "training"))
        return previews

    def _name(self, index: int) -> str:
        start = self._ends[index - 1] if index > 0 else 0
        return os.fsdecode(self._names[start : self._ends[index]])


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
        self._root = _absolute(root, "cifar10", "the folder that holds cifar-10-batches-py, or will")
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
        indices = _spread(count, len(images))
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
        "brick.png",
        "camera.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "motorcycle_right.png",  # the same scene as motorcycle_left: both must be on one side
        "page.png",
        "retina.jpg",
        "rocket.jpg",
        "text.png",
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


def _absolute(root: str | None, dataset: str, what: str) -> str:
    if not root:
        raise ConfigError(f"{dataset} does not know where the data are: give data.image.root=DIR, {what}")
    return os.path.abspath(os.path.expanduser(root))


def _list_images(root: str) -> list[bytes]:
    """Names of the image files below `root`, relative to it, sorted. Raises ConfigError if there are none."""
    names: list[bytes] = []
    others: Counter[str] = Counter()
    try:
        _scan(os.fsencode(root), names, others)
    except FileNotFoundError as error:
        raise ConfigError(f"data.image.root: there is no folder {os.fsdecode(error.filename)}") from error
    except NotADirectoryError as error:
        raise ConfigError(f"data.image.root: {root} is a file; give the folder that holds the photographs") from error
    except OSError as error:
        raise ConfigError(f"data.image.root: {os.fsdecode(error.filename)} cannot be listed: {error.strerror}") from error
    if not names:
        most = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in others.most_common(5))
        seen = f"{others.total()} other files ({most})" if others else "no files at all"
        raise ConfigError(f"data.image.root: {root} holds {seen} but no photographs; read are {', '.join(IMAGE.file_suffixes)}")
    return sorted(names)


def _scan(root: bytes, names: list[bytes], others: Counter[str]) -> None:
    """Append to `names`; count other files by suffix. Asks nothing of a file but its folder's entry: a million are common."""
    suffixes = frozenset(map(os.fsencode, IMAGE.file_suffixes))
    seen: set[tuple[int, int]] = set()
    pending = [b""]
    while pending:
        folder = pending.pop()
        path = os.path.join(root, folder) if folder else root
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:  # reached again, through a symbolic link
            continue
        seen.add((status.st_dev, status.st_ino))
        folders: list[bytes] = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                name = os.path.join(folder, entry.name)
                suffix = os.path.splitext(entry.name)[1].lower()
                if entry.is_dir():
                    folders.append(name)
                elif suffix in suffixes:
                    names.append(name)
                else:
                    others[os.fsdecode(suffix)] += 1
        pending += sorted(folders, reverse=True)  # which of two ways into a folder is taken must not depend on the disk


def _spread(count: int, total: int) -> list[int]:
    """Up to `count` different indices below `total`, spread evenly."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
