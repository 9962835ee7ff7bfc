"""Satellite images to try SatMAE with, where there are none: made up, with enough structure to see training work."""

from abc import abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Literal

import torch
from torch import Tensor

from mae_core.interfaces import Dataset, Preview, Sample
from mae_core.interfaces.numbers import Positive
from mae_methods.satmae.landscape import Date, Landscape
from mae_methods.satmae.positions import TIMESTAMPS
from mae_methods.satmae.reading import check_axes
from mae_registry import ConfigError

SENTINEL_2 = (0.490, 0.560, 0.665, 0.705, 0.740, 0.783, 0.842, 0.865, 1.610, 2.190)
"""Wavelengths in micrometres of the ten bands that SatMAE is trained on."""
RED_GREEN_BLUE = (0.665, 0.560, 0.490)
VISIBLE, BRIGHTEST_VISIBLE, BRIGHTEST = 0.7, 0.3, 0.5
"""The longest wavelength that is visible, and the light that is full scale in bands up to that one, and in others."""


class SyntheticLandscapes(Dataset):
    """Synthetic landscapes; each number of a split is one landscape, always the same."""

    def __init__(self, size: tuple[int, int], *, split: Literal["train", "held_out"], count: int) -> None:
        self._size = size
        self._split = split
        self._count = count

    def __len__(self) -> int:
        return self._count

    @abstractmethod
    def look(self, landscape: Landscape, *, random: Random) -> tuple[Sample, str]:
        """A sample of a landscape at random dates, and what is to be said of it."""

    def load(self, index: int, *, random: Random) -> Sample:
        """The landscape at random dates, mirrored and turned at random, uint8."""
        sample, _ = self.look(self._landscape(self._split, index), random=random)
        x = sample.x.flip(-1) if random.random() < 0.5 else sample.x
        return Sample((x.flip(-2) if random.random() < 0.5 else x).contiguous(), sample.extras)

    def describe(self, index: int) -> str:
        """Split and number."""
        return f"landscape {self._split} {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """Landscapes of the other split, which are held out, at dates that are always the same."""
        other = "held_out" if self._split == "train" else "train"
        previews = []
        for index in range(min(count, self._count)):
            sample, note = self.look(self._landscape(other, index), random=Random(index))
            previews.append(Preview(f"landscape {index}", sample.x, f"held out; {note}", sample.extras))
        return previews

    def _landscape(self, split: str, index: int) -> Landscape:
        return Landscape(*self._size, random=Random(f"{split} {index}"))


class SyntheticBands(SyntheticLandscapes):
    """Synthetic landscapes in the ten bands of Sentinel-2, or in as many bands as the tokenizer takes.

    Args:
        split: landscapes of "held_out" are drawn like those of "train" but are other ones.
        count: landscapes in an epoch.
    """

    def __init__(
        self, sample_shape: tuple[int, ...], *, split: Literal["train", "held_out"] = "train", count: Positive = 512
    ) -> None:
        num_bands, height, width = check_axes(sample_shape, "bands, height, width")
        steps = torch.linspace(SENTINEL_2[0], SENTINEL_2[-1], num_bands).tolist()
        self._wavelengths = SENTINEL_2 if num_bands == len(SENTINEL_2) else tuple(steps)
        super().__init__((height, width), split=split, count=count)

    def look(self, landscape: Landscape, *, random: Random) -> tuple[Sample, str]:
        """(bands, H, W) uint8."""
        date = Date.drawn(random)
        return Sample(_as_bytes(landscape.seen(self._wavelengths, date), self._wavelengths)), str(date)


class SyntheticDates(SyntheticLandscapes):
    """Synthetic landscapes in red, green and blue at several random dates each, which go with them as the extra `timestamps`.

    Args:
        split: landscapes of "held_out" are drawn like those of "train" but are other ones.
        count: landscapes in an epoch.
    """

    def __init__(
        self, sample_shape: tuple[int, ...], *, split: Literal["train", "held_out"] = "train", count: Positive = 512
    ) -> None:
        channels, self._num_images, height, width = check_axes(sample_shape, "channels, images, height, width")
        if channels != len(RED_GREEN_BLUE):
            raise ConfigError(f"the tokenizer takes {channels} channels; these images have 3, red, green and blue")
        super().__init__((height, width), split=split, count=count)

    def look(self, landscape: Landscape, *, random: Random) -> tuple[Sample, str]:
        """(3, images, H, W) uint8, with their dates (images, 3)."""
        dates = sorted((Date.drawn(random) for _ in range(self._num_images)), key=lambda date: (date.year, date.month))
        seen = [_as_bytes(landscape.seen(RED_GREEN_BLUE, date), RED_GREEN_BLUE) for date in dates]
        stamps = torch.tensor([[date.year, date.month, date.hour] for date in dates])
        return Sample(torch.stack(seen, dim=1), {TIMESTAMPS: stamps}), ", ".join(map(str, dates))


def _as_bytes(light: Tensor, wavelengths: tuple[float, ...]) -> Tensor:
    """(bands, H, W), each band to its full scale."""
    scales = torch.tensor([BRIGHTEST_VISIBLE if wavelength <= VISIBLE else BRIGHTEST for wavelength in wavelengths])
    return (255 * (light / scales.reshape(-1, 1, 1)).clamp(0, 1)).round().to(torch.uint8)
