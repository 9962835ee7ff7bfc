"""Frames of any size -> samples of one shape. One box for all frames of a clip."""

import math
from collections.abc import Sequence
from random import Random
from typing import Annotated, NamedTuple

from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mae_registry import ConfigError

Share = Annotated[float, Field(gt=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
RatioRange = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

NUM_TRIES = 10
SNAP = 3
"""A side that differs from the sample's by fewer pixels becomes the sample's, so that it need not be resized (VideoMAE)."""


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def crop(frames: Tensor, box: Box, sample_shape: tuple[int, ...], *, antialias: bool) -> Tensor:
    """(T, C, H, W) uint8 -> (C, T, h, w) of `sample_shape`, bilinear."""
    cut = frames[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
    size = list(sample_shape[2:])
    resized = F.resize(cut, size, interpolation=InterpolationMode.BILINEAR, antialias=antialias)
    return resized.transpose(0, 1).contiguous()


def center_crop(frames: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
    """(T, C, H, W) uint8 -> (C, T, h, w): the largest central box of the sample's proportions, resized."""
    height, width = frames.shape[2:]
    box_height, box_width = _largest(height, width, sample_shape)
    box = Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
    return crop(frames, box, sample_shape, antialias=True)


def multi_scale_box(height: int, width: int, sample_shape: tuple[int, ...], scales: Sequence[float], random: Random) -> Box:
    """A box of VideoMAE's multi-scale crop.

    Its sides are two of `scales`, neighbours or the same, of the largest box of the sample's proportions; it lies at one of 13
    places on a 5 x 5 grid: corners, edges' middles, centre, and half-way between corners and centre.
    """
    base_height, base_width = _largest(height, width, sample_shape)
    heights = [_snap(int(base_height * scale), sample_shape[2]) for scale in scales]
    widths = [_snap(int(base_width * scale), sample_shape[3]) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(heights) for j, w in enumerate(widths) if abs(i - j) <= 1]
    box_height, box_width = random.choice(pairs)
    places = [(row, column) for row in range(5) for column in range(5) if (row + column) % 2 == 0]
    row, column = random.choice(places)
    return Box((height - box_height) // 4 * row, (width - box_width) // 4 * column, box_height, box_width)


def random_area_box(
    height: int,
    width: int,
    sample_shape: tuple[int, ...],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    random: Random,
) -> Box:
    """A box of a random resized crop: a share of the area in `scale`, width / height in `ratio` (log-uniform), relative to
    the sample's own; 10 tries, then the largest central box.
    """
    aspect = sample_shape[3] / sample_shape[2]
    for _ in range(NUM_TRIES):
        area = height * width * random.uniform(*scale)
        drawn = aspect * math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        box_height, box_width = round(math.sqrt(area / drawn)), round(math.sqrt(area * drawn))
        if 0 < box_height <= height and 0 < box_width <= width:
            return Box(random.randint(0, height - box_height), random.randint(0, width - box_width), box_height, box_width)
    box_height, box_width = _largest(height, width, sample_shape)
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def check_range(name: str, bounds: tuple[float, float]) -> None:
    """Raise ConfigError unless the lower bound comes first."""
    if bounds[0] > bounds[1]:
        raise ConfigError(f"{name} is [{bounds[0]:g}, {bounds[1]:g}]; the lower number comes first")


def _largest(height: int, width: int, sample_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the largest box of the sample's proportions."""
    _, _, sample_height, sample_width = sample_shape
    scale = min(height / sample_height, width / sample_width)
    return min(height, max(1, round(sample_height * scale))), min(width, max(1, round(sample_width * scale)))


def _snap(side: int, sample_side: int) -> int:
    return sample_side if abs(side - sample_side) < SNAP else max(1, side)
