"""RandAugment (Cubuk et al. 2020) as timm has it, from random numbers that are given."""

import functools
import random as global_random
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform
from torch import Tensor

from mae_registry import ConfigError

SPEC = re.compile(r"rand(-(m\d+|n\d+|p\d*\.?\d+|mstd\d+(\.\d+)?|mmax\d+|inc[01]))*")
TRANSLATE = 0.45
"""The longest translation over the sample's shorter side."""
Colour = tuple[int, int, int]


class RandAugment:
    """Two (n) of 15 operations, drawn with replacement, each applied with probability 0.5 (p) and a random magnitude.

    Args:
        spec: in timm's words, such as "rand-m9-mstd0.5-inc1": mean and standard deviation of the magnitude, from 0 to 10, and
            whether all operations grow stronger with it.
        size: height and width of what it is applied to.
        fill: what is laid where the picture was moved away from.
    """

    def __init__(self, spec: str, *, size: tuple[int, int], fill: Colour) -> None:
        if not SPEC.fullmatch(spec):
            raise ConfigError(
                f"auto_augment={spec}: it must be null or timm's name of a RandAugment, such as rand-m9-mstd0.5-inc1 "
                "(m: magnitude, mstd: its standard deviation, n: number of operations, p: probability of each, inc1)"
            )
        self.spec, self.fill, self.translate = spec, fill, int(TRANSLATE * min(size))

    def __call__(self, frames: Tensor, *, random: Random) -> Tensor:
        """(3, H, W) or several frames (T, 3, H, W), uint8 -> the same shape. All frames are changed alike."""
        transform = _transform(self.spec, self.translate, self.fill)
        seed = random.getrandbits(32)
        several = frames if frames.ndim == 4 else frames[None]
        changed = torch.stack([_apply(transform, frame, seed) for frame in several])
        return changed if frames.ndim == 4 else changed[0]


@functools.lru_cache(maxsize=8)
def _transform(spec: str, translate: int, fill: Colour) -> Callable[[Image.Image], Image.Image]:
    # timm keeps what it is given and adds to it
    parameters = {"translate_const": translate, "img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
    transform = rand_augment_transform(spec, parameters)
    for operation in transform.ops:
        if operation.aug_fn is posterize:
            operation.aug_fn = _posterize
    return transform


def _posterize(frame: Image.Image, bits: int, **parameters: Any) -> Image.Image:
    """The strongest magnitude keeps no bits at all, which newer versions of Pillow refuse: all is black then."""
    return posterize(frame, bits, **parameters) if bits > 0 else Image.new(frame.mode, frame.size)


def _apply(transform: Callable[[Image.Image], Image.Image], frame: Tensor, seed: int) -> Tensor:
    with _seeded(seed):
        changed = transform(Image.fromarray(frame.permute(1, 2, 0).numpy()))
    return torch.from_numpy(np.array(changed)).permute(2, 0, 1).contiguous()


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """The global generators of Python and of NumPy, which timm uses, begin at `seed`; afterwards they are as before."""
    before = global_random.getstate(), np.random.get_state()
    global_random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        global_random.setstate(before[0])
        np.random.set_state(before[1])
