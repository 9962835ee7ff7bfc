"""Random erasing (Zhong et al. 2020) of normalised samples, as in the published fine-tuning: one box, filled with noise."""

import math
from random import Random

import torch
from torch import Tensor

AREA = (0.02, 1 / 3)
"""Range of the box's share of the plane."""
ASPECT = (0.3, 1 / 0.3)
"""Range of its height / width."""
MAX_TRIES = 10
"""Boxes drawn until one lies inside of the plane; after that nothing is erased."""


def erase(x: Tensor, seeds: Tensor, *, probability: float) -> Tensor:
    """(rows, ..., H, W) -> the same, with a box of the last two axes of some rows replaced by normally distributed noise.

    What becomes of a row is a function of its seed, (rows,) int64, and of the kind of device.
    """
    erased = x.clone()
    for row, seed in zip(erased, seeds.tolist(), strict=True):
        random = Random(seed)
        if random.random() > probability:
            continue
        box = draw_box(row.shape[-2], row.shape[-1], random)
        if box is not None:
            part = row[..., box[0], box[1]]
            noise = torch.Generator(x.device).manual_seed(seed)
            part.copy_(torch.randn(part.shape, generator=noise, device=x.device, dtype=x.dtype))
    return erased


def draw_box(height: int, width: int, random: Random) -> tuple[slice, slice] | None:
    """Rows and columns of a box, None where none fits."""
    log_aspect = (math.log(ASPECT[0]), math.log(ASPECT[1]))
    for _ in range(MAX_TRIES):
        area = random.uniform(*AREA) * height * width
        aspect = math.exp(random.uniform(*log_aspect))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rows < height and columns < width:
            top, left = random.randint(0, height - rows), random.randint(0, width - columns)
            return slice(top, top + rows), slice(left, left + columns)
    return None
