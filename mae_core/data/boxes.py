"""Rectangles to cut out of planes of any size: at random for training, from the middle for pictures."""

import math
from random import Random
from typing import NamedTuple

from torch import Tensor

from mae_registry import ConfigError

NUM_TRIES = 10
"""Random boxes that are tried before the middle is taken."""


class Box(NamedTuple):
    """A rectangle of a plane's values."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, planes: Tensor) -> Tensor:
        """(..., H, W) -> (..., height, width), a view."""
        return planes[..., self.top : self.top + self.height, self.left : self.left + self.width]


def random_box(
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    aspect: float,
    random: Random,
    single_try: bool = False,
) -> Box:
    """The box of a random resized crop of a plane of `height` x `width`, as torchvision documents it.

    `scale`: range of the box's area, as a share of the plane's; `ratio`: range of its width / height, log-uniform, relative to
    `aspect`, the sample's own (so that an oblong sample is not distorted more than a square one). After 10 tries that do not
    fit, the largest central box whose ratio is in range. With `single_try` the first box is taken, and its sides are cut to the
    plane's, as in the published linear probe of MAE.
    """
    low, high = (bound * aspect for bound in ratio)
    for _ in range(NUM_TRIES):
        area = height * width * random.uniform(*scale)
        drawn = math.exp(random.uniform(math.log(low), math.log(high)))
        box_height, box_width = round(math.sqrt(area / drawn)), round(math.sqrt(area * drawn))
        if single_try:
            box_height, box_width = (min(max(side, 1), whole) for side, whole in ((box_height, height), (box_width, width)))
        if 0 < box_height <= height and 0 < box_width <= width:
            return Box(random.randint(0, height - box_height), random.randint(0, width - box_width), box_height, box_width)
    return central_box(height, width, min(height, max(1, round(width / low))), min(width, max(1, round(height * high))))


def largest_box(height: int, width: int, *, like: tuple[int, int]) -> Box:
    """The largest central box with the proportions of `like`, a height and a width."""
    scale = min(height / like[0], width / like[1])
    sides = (min(whole, max(1, round(side * scale))) for whole, side in zip((height, width), like, strict=True))
    return central_box(height, width, *sides)


def central_box(height: int, width: int, box_height: int, box_width: int) -> Box:
    """A box of these sides in the middle of a plane."""
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def check_range(name: str, bounds: tuple[float, float], *, upper: float = math.inf) -> None:
    """Raise ConfigError unless these are two numbers above 0, the lower one first, at most `upper`."""
    low, high = bounds
    if not 0 < low <= high <= upper:
        limit = "" if upper == math.inf else f", at most {upper:g}"
        raise ConfigError(f"{name} is [{low:g}, {high:g}]; it must be two numbers above 0{limit}, the lower one first")
