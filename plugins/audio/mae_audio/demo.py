"""Sounds to try audio with, where there are none: made up on the spot, with enough structure to see training work."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

import torch
from torch import Tensor

from mae_audio.fbank import SAMPLE_RATE, num_samples
from mae_audio.reading import checked_shape, to_spectrogram
from mae_core.interfaces import Dataset, Preview
from mae_core.interfaces.numbers import Positive

LOUDEST = 0.5
"""Peak of a sound, where 1 is full scale."""
BACKGROUND = 1e-3
"""Standard deviation of the noise under every sound: perfect silence is no recording."""


class SyntheticSounds(Dataset):
    """Chirps, harmonic notes, rhythms and bursts of noise, by turns; each number of a split is one sound, always the same.

    Args:
        split: sounds of "held_out" are drawn like those of "train" but are other ones.
        count: sounds in an epoch.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        split: Literal["train", "held_out"] = "train",
        count: Positive = 512,
    ) -> None:
        _, self._num_frames, self._num_mels = checked_shape(sample_shape)
        self._split = split
        self._count = count

    def __len__(self) -> int:
        return self._count

    def load(self, index: int, *, random: Random) -> Tensor:
        """The sound at a random loudness, log-mel float32."""
        return self._spectrogram(self._split, index, 0.5 + random.betavariate(10, 10))

    def describe(self, index: int) -> str:
        """Kind, split and number."""
        return f"{_kind(index).__name__} {self._split} {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """Sounds of the other split, which are held out, one kind after the other."""
        other = "held_out" if self._split == "train" else "train"
        count = min(count, self._count)
        return [Preview(f"{_kind(i).__name__} {i}", self._spectrogram(other, i, 1.0), "held out") for i in range(count)]

    def _spectrogram(self, split: str, index: int, gain: float) -> Tensor:
        wave = make_sound(split, index, num_samples(self._num_frames))
        return to_spectrogram(gain * wave, self._num_frames, self._num_mels)


def make_sound(split: str, index: int, length: int) -> Tensor:
    """(length,) float32 at 16 kHz; the kind goes round with `index`, everything else is drawn from `split` and `index`."""
    random = Random(f"{split} {index}")
    wave = _kind(index)(torch.arange(length) / SAMPLE_RATE, random)
    return LOUDEST * wave / wave.abs().max().clamp(min=1e-6) + BACKGROUND * _noise(length, random)


def chirp(seconds: Tensor, random: Random) -> Tensor:
    """A tone that glides from one pitch to another, once or again and again."""
    low, high = _pitch(random, 150, 1500), _pitch(random, 2000, 7000)
    period = float(seconds[-1]) / random.choice((1, 2, 3, 4))
    phase = (seconds / period) % 1
    if random.random() < 0.5:
        phase = 1 - phase
    hertz = low * (high / low) ** phase
    return torch.sin(2 * math.pi * hertz.cumsum(0) / SAMPLE_RATE)


def notes(seconds: Tensor, random: Random) -> Tensor:
    """A melody of harmonic notes, which die away."""
    base = _pitch(random, 150, 500)
    period = random.uniform(0.15, 0.4)
    melody = [2 ** (random.choice((0, 2, 4, 5, 7, 9, 12)) / 12) for _ in range(int(float(seconds[-1]) / period) + 1)]
    number = (seconds / period).long()
    hertz = base * torch.tensor(melody)[number]
    angle = 2 * math.pi * hertz.cumsum(0) / SAMPLE_RATE
    overtones = range(1, random.randint(3, 8))
    decay = torch.exp(-(seconds - number * period) / (0.6 * period))
    return decay * torch.stack([torch.sin(n * angle) / n for n in overtones]).sum(0)


def rhythm(seconds: Tensor, random: Random) -> Tensor:
    """Clicks of noise at regular times, every few of them louder and lower."""
    period = random.uniform(0.08, 0.25)
    accent = random.randint(2, 4)
    number = (seconds / period).long()
    since = seconds - number * period
    beat = torch.sin(2 * math.pi * _pitch(random, 100, 400) * since) * torch.exp(-since / 0.05)
    click = _noise(len(seconds), random) * torch.exp(-since / 0.01)
    return torch.where(number % accent == 0, beat + 0.3 * click, 0.4 * click)


def noise_bursts(seconds: Tensor, random: Random) -> Tensor:
    """Noise in a band of frequencies, on and off."""
    low = _pitch(random, 200, 3000)
    high = min(8000.0, low * random.uniform(1.5, 4))
    spectrum = torch.fft.rfft(_noise(len(seconds), random))
    hertz = torch.fft.rfftfreq(len(seconds), 1 / SAMPLE_RATE)
    band = torch.fft.irfft(spectrum * ((hertz >= low) & (hertz <= high)), n=len(seconds))
    period, share = random.uniform(0.2, 0.6), random.uniform(0.3, 0.7)
    return band * ((seconds / period) % 1 < share)


KINDS: tuple[Callable[[Tensor, Random], Tensor], ...] = (chirp, notes, rhythm, noise_bursts)


def _kind(index: int) -> Callable[[Tensor, Random], Tensor]:
    return KINDS[index % len(KINDS)]


def _pitch(random: Random, low: float, high: float) -> float:
    """Log-uniform, in Hz."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _noise(length: int, random: Random) -> Tensor:
    generator = torch.Generator().manual_seed(random.getrandbits(63))
    return torch.randn(length, generator=generator)
