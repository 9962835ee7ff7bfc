"""Frames of any size -> samples of one shape. One box for all frames of a clip."""

from collections.abc import Sequence
from random import Random

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mae_core.data.boxes import Box, largest_box

SNAP = 3
"""A side that differs from the sample's by fewer pixels becomes the sample's, so that it need not be resized (VideoMAE)."""


def crop(frames: Tensor, box: Box, sample_shape: tuple[int, ...], *, antialias: bool) -> Tensor:
    """(T, C, H, W) uint8 -> (C, T, h, w) of `sample_shape`, bilinear."""
    size = list(sample_shape[2:])
    resized = F.resize(box.cut(frames), size, interpolation=InterpolationMode.BILINEAR, antialias=antialias)
    return resized.transpose(0, 1).contiguous()


def center_crop(frames: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
    """(T, C, H, W) uint8 -> (C, T, h, w): the largest central box of the sample's proportions, resized."""
    height, width = frames.shape[2:]
    box = largest_box(height, width, like=(sample_shape[2], sample_shape[3]))
    return crop(frames, box, sample_shape, antialias=True)


def side_crop(frames: Tensor, sample_shape: tuple[int, ...], place: float) -> Tensor:
    """(T, C, H, W) uint8 -> (C, T, h, w): as `center_crop`, but from 0, the left or upper end of the longer side, to 1."""
    height, width = frames.shape[2:]
    box = largest_box(height, width, like=(sample_shape[2], sample_shape[3]))
    moved = box._replace(top=round(place * (height - box.height)), left=round(place * (width - box.width)))
    return crop(frames, moved, sample_shape, antialias=True)


def multi_scale_box(height: int, width: int, sample_shape: tuple[int, ...], scales: Sequence[float], random: Random) -> Box:
    """A box of VideoMAE's multi-scale crop.

    Its sides are two of `scales`, neighbours or the same, of the largest box of the sample's proportions; it lies at one of 13
    places on a 5 x 5 grid: corners, edges' middles, centre, and half-way between corners and centre.
    """
    largest = largest_box(height, width, like=(sample_shape[2], sample_shape[3]))
    heights = [_snap(int(largest.height * scale), sample_shape[2]) for scale in scales]
    widths = [_snap(int(largest.width * scale), sample_shape[3]) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(heights) for j, w in enumerate(widths) if abs(i - j) <= 1]
    box_height, box_width = random.choice(pairs)
    places = [(row, column) for row in range(5) for column in range(5) if (row + column) % 2 == 0]
    row, column = random.choice(places)
    return Box((height - box_height) // 4 * row, (width - box_width) // 4 * column, box_height, box_width)


def _snap(side: int, sample_side: int) -> int:
    return sample_side if abs(side - sample_side) < SNAP else max(1, side)
