"""A data set that is made up on the fly, with labels."""

from collections.abc import Sequence
from random import Random

import torch

from mae_core.interfaces import BadSample, Dataset, Preview, Sample
from mae_core.registry import registry
from mae_registry import Component

NUM_CLASSES = 3


class Stripes(Dataset):
    """24 pictures of noise, brighter at the top, in the middle or at the bottom: that is their class.

    Args:
        labels: how many there are; 0: the samples have none.
        mistakes: numbers of samples whose loading raises what no dataset should.
        bad: numbers of samples that cannot be read.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        labels: int = NUM_CLASSES,
        mistakes: Sequence[int] = (),
        bad: Sequence[int] = (),
        num_views: int = 1,
    ) -> None:
        self.sample_shape, self.labels, self.mistakes, self.bad, self.num_views = sample_shape, labels, mistakes, bad, num_views

    def __len__(self) -> int:
        return 24

    def load(self, index: int, *, random: Random) -> torch.Tensor | Sample:
        if index in self.mistakes:
            raise ZeroDivisionError("one by nothing")
        if index in self.bad:
            raise BadSample(f"stripes {index} are torn")
        views = [self._view(index, random) for _ in range(self.num_views)]
        x = torch.stack(views) if self.num_views > 1 else views[0]
        if not self.labels:
            return x
        label = torch.tensor(index % self.labels)
        return Sample(x, {"label": label.expand(self.num_views) if self.num_views > 1 else label})

    def _view(self, index: int, random: Random) -> torch.Tensor:
        _, height, _ = self.sample_shape
        generator = torch.Generator().manual_seed(random.randrange(2**31))
        x = torch.randint(100, self.sample_shape, generator=generator, dtype=torch.uint8)
        first = height * (index % NUM_CLASSES) // NUM_CLASSES
        x[:, first : first + height // NUM_CLASSES] += 150
        return x

    def describe(self, index: int) -> str:
        return f"stripes {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        return [Preview(self.describe(index), self._view(index, Random(index))) for index in range(count)]


def register_stripes() -> None:
    """As the dataset "stripes", once a process."""
    if "stripes" not in registry().names("datasets"):
        registry().add(Component("datasets", "stripes", "toy_data:Stripes", "core"))
