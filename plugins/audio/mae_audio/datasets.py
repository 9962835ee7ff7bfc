"""Recordings to train on: a folder of files."""

from random import Random
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_audio.augmentations import MIX_SHAPE, mask_bands, mix_waves
from mae_audio.fbank import num_samples
from mae_audio.modality import AUDIO
from mae_audio.reading import checked_shape, read_wave, to_spectrogram
from mae_core.data.folders import FileFolder
from mae_core.interfaces import LABEL, Sample, as_sample
from mae_core.interfaces.numbers import Positive, Probability
from mae_registry import ConfigError


class AudioFolder(FileFolder):
    """The audio files of a folder and of the folders in it; see `FileFolder`.

    Files of any sample rate, number of channels and length: resampled to 16 kHz, channels averaged, a random part of those
    that are longer than the sample, zeros after those that are shorter.

    Args:
        root: the folder, or where shards or Parquet files are.
        labels, split, balanced, extras, in_memory, cache: see `FileFolder`.
        roll_mag_aug: multiply each wave by 0.5 + Beta(10, 10), the published augmentation of that name. Its other half, rolling
            the wave, never takes place there: it draws the distance below the number of channels, which is one.
        wave_mixup: probability that a recording is mixed with another one of the folder, and its label with that one's. Labels
            are then shares of all classes, float32 (classes,). Published for fine-tuning on AudioSet: 0.5.
        freq_mask, time_mask: SpecAugment: up to so many neighbouring mel bins and frames become zero. Published: 48 and 192.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        labels: str | None = None,
        split: str | None = None,
        balanced: Positive | None = None,
        extras: tuple[str, ...] | None = None,
        in_memory: bool = False,
        cache: str | None = None,
        roll_mag_aug: bool = True,
        wave_mixup: Probability = 0.0,
        freq_mask: Annotated[int, Field(ge=0)] = 0,
        time_mask: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        _, self._num_frames, self._num_mels = checked_shape(sample_shape)
        if freq_mask > self._num_mels or time_mask > self._num_frames:
            raise ConfigError(
                f"data.audio.freq_mask={freq_mask} and time_mask={time_mask} must be at most the sample's {self._num_mels} mel "
                f"bins and {self._num_frames} frames"
            )
        self._roll_mag_aug, self._mixup = roll_mag_aug, wave_mixup
        self._masks = {"num_frames": time_mask, "num_mels": freq_mask}
        super().__init__(
            root,
            modality=AUDIO,
            what="recordings",
            labels=labels,
            split=split,
            balanced=balanced,
            extras=extras,
            in_memory=in_memory,
            cache=cache,
        )
        if wave_mixup and self.labels is None:
            raise ConfigError("data.audio.wave_mixup mixes labels too, so it needs data.audio.labels; or set it to 0")

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random part of one file, log-mel float32; with `wave_mixup` maybe of two."""
        wave = self._part(index, random)
        other, share = index, 1.0
        if self._mixup and random.random() < self._mixup:
            other, share = random.randrange(len(self)), random.betavariate(MIX_SHAPE, MIX_SHAPE)
            wave = mix_waves(wave, self._part(other, random), share)
        spectrogram = to_spectrogram(wave, self._num_frames, self._num_mels)
        if any(self._masks.values()):
            spectrogram = mask_bands(spectrogram, **self._masks, random=random)
        labelled = self.labelled(spectrogram, index)
        if not self._mixup:
            return labelled
        return Sample(
            spectrogram, {**as_sample(labelled).extras, LABEL: share * self._shares(index) + (1 - share) * self._shares(other)}
        )

    def read(self, index: int) -> Tensor | Sample:
        """The beginning of one file, un-augmented, log-mel float32. Raises BadSample."""
        wave = read_wave(self.file(index), max_samples=num_samples(self._num_frames))
        return self.labelled(to_spectrogram(wave, self._num_frames, self._num_mels), index)

    def _part(self, index: int, random: Random) -> Tensor:
        wave = read_wave(self.file(index), max_samples=num_samples(self._num_frames), random=random)
        return wave * (0.5 + random.betavariate(10, 10)) if self._roll_mag_aug else wave

    def _shares(self, index: int) -> Tensor:
        """(classes,) float32: 1 for each class of a file."""
        assert self.labels is not None
        target = self.labels.targets[index]
        return target if self.labels.several else torch.nn.functional.one_hot(target, len(self.labels.names)).float()
