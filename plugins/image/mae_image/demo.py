"""Photographs to try images with, where there are none: those that the scikit-image wheel carries."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

import skimage
from torch import Tensor

from mae_core.interfaces import Dataset, Preview
from mae_core.interfaces.numbers import Positive, PositiveRange, Probability, ShareRange
from mae_image.crops import Interpolation, RandomCrop, center_crop
from mae_image.reading import read_rgb

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
        repeats: Positive = 1,
        crop_scale: ShareRange = (0.2, 1.0),
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
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

    def read(self, index: int) -> Tensor:
        """The central crop of photograph `index` modulo their number."""
        return center_crop(self._image(self._names[index % len(self._names)]), self._crop.sample_shape)

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
