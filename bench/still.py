"""A data set that costs next to nothing, so that what is measured is not how files are read."""

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from mae_core.interfaces import Dataset, Preview
from mae_core.interfaces.numbers import Positive
from mae_core.registry import registry
from mae_registry import Component


class Still(Dataset):
    """Samples of noise in uint8, `count` of them, which are made once and lie in memory.

    Args:
        count: samples of an epoch.
        num_different: of which so many are different.
    """

    def __init__(self, sample_shape: tuple[int, ...], *, count: Positive = 4096, num_different: Positive = 16) -> None:
        generator = torch.Generator().manual_seed(0)
        self.samples = torch.randint(256, (num_different, *sample_shape), generator=generator, dtype=torch.uint8)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def load(self, index: int, *, random: Random) -> Tensor:
        return self.samples[index % len(self.samples)]

    def describe(self, index: int) -> str:
        return f"sample {index} of noise"

    def previews(self, count: int) -> Sequence[Preview]:
        return [Preview(self.describe(index), self.samples[index]) for index in range(min(count, len(self.samples)))]


def register_still() -> None:
    """From here on, recipes of this process may say `data.NAME.name=still`."""
    registry().add(Component("datasets", "still", "still:Still", "core"))
