"""A data set that is made up on the fly, with labels."""

import os
import signal
from collections.abc import Sequence
from random import Random

import torch

from mae_core.interfaces import BadSample, Dataset, Labels, Preview, Sample, as_sample
from mae_core.registry import registry
from mae_registry import Component

NUM_CLASSES = 3


class Tones(Dataset):
    """24 pictures of noise: dark, middling or bright, which is their class.

    Args:
        labels: the number of classes; 0: the samples have no labels.
        mistakes: numbers of samples whose loading raises what no dataset should.
        bad: numbers of samples that cannot be read.
        fatal: numbers of samples at which the process that reads them ends by signal `fatal_signal`.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        labels: int = NUM_CLASSES,
        mistakes: Sequence[int] = (),
        bad: Sequence[int] = (),
        fatal: Sequence[int] = (),
        fatal_signal: int = signal.SIGSEGV,
        num_views: int = 1,
        num_test_views: int = 1,
    ) -> None:
        self.num_test_views = num_test_views
        self.fatal, self.fatal_signal = fatal, fatal_signal
        self.sample_shape, self.mistakes, self.bad, self.num_views = sample_shape, mistakes, bad, num_views
        names = tuple(f"tone {number}" for number in range(labels))
        self.labels = Labels(names, torch.arange(len(self)) % labels) if labels else None

    def __len__(self) -> int:
        return 24

    def load(self, index: int, *, random: Random) -> torch.Tensor | Sample:
        if index in self.mistakes:
            raise ZeroDivisionError("one by nothing")
        if index in self.fatal:
            os.kill(os.getpid(), self.fatal_signal)
        if index in self.bad:
            raise BadSample(f"tone {index} is torn")
        if self.num_views == 1:
            return self.labelled(self._view(index, random), index)
        views = torch.stack([self._view(index, random) for _ in range(self.num_views)])
        return self.labelled(views, index, num_views=self.num_views)

    def read_views(self, index: int) -> Sample:
        one = as_sample(self.read(index))
        views = torch.stack([one.x.roll(shift, -1) for shift in range(self.num_test_views)])
        return Sample(views, {name: extra.expand(len(views), *extra.shape) for name, extra in one.extras.items()})

    def _view(self, index: int, random: Random) -> torch.Tensor:
        generator = torch.Generator().manual_seed(random.randrange(2**31))
        return torch.randint(60, self.sample_shape, generator=generator, dtype=torch.uint8) + 90 * (index % NUM_CLASSES)

    def describe(self, index: int) -> str:
        return f"tone {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        return [Preview(self.describe(index), self._view(index, Random(index))) for index in range(count)]


class Chords(Tones):
    """Tones that may be of several classes."""

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__(sample_shape)
        targets = torch.nn.functional.one_hot(torch.arange(len(self)) % 3, 4).float()
        targets[::2, 3] = 1
        self.labels = Labels(("bright", "dark", "even", "middling"), targets)


def register_tones() -> None:
    """As the datasets "tones" and "chords", once a process."""
    if "tones" not in registry().names("datasets"):
        registry().add(Component("datasets", "tones", "tones:Tones", "core"))
        registry().add(Component("datasets", "chords", "tones:Chords", "core"))
