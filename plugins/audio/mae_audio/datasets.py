"""Recordings to train on: a folder of files."""

from random import Random

from torch import Tensor

from mae_audio.fbank import num_samples
from mae_audio.modality import AUDIO
from mae_audio.reading import checked_shape, read_wave, to_spectrogram
from mae_core.data.folders import FileFolder
from mae_core.interfaces import Sample
from mae_core.interfaces.numbers import Positive


class AudioFolder(FileFolder):
    """The audio files of a folder and of the folders in it; see `FileFolder`.

    Files of any sample rate, number of channels and length: resampled to 16 kHz, channels averaged, a random part of those
    that are longer than the sample, zeros after those that are shorter.

    Args:
        root: the folder.
        labels, split, balanced: see `FileFolder`.
        roll_mag_aug: multiply each wave by 0.5 + Beta(10, 10), the published augmentation of that name. Its other half, rolling
            the wave, never takes place there: it draws the distance below the number of channels, which is one.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        labels: str | None = None,
        split: str | None = None,
        balanced: Positive | None = None,
        roll_mag_aug: bool = True,
    ) -> None:
        _, self._num_frames, self._num_mels = checked_shape(sample_shape)
        self._roll_mag_aug = roll_mag_aug
        super().__init__(root, modality=AUDIO, what="recordings", labels=labels, split=split, balanced=balanced)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random part of one file, log-mel float32."""
        wave = read_wave(self.describe(index), max_samples=num_samples(self._num_frames), random=random)
        if self._roll_mag_aug:
            wave = wave * (0.5 + random.betavariate(10, 10))
        return self.labelled(to_spectrogram(wave, self._num_frames, self._num_mels), index)

    def read(self, index: int) -> Tensor | Sample:
        """The beginning of one file, un-augmented, log-mel float32. Raises BadSample."""
        wave = read_wave(self.describe(index), max_samples=num_samples(self._num_frames))
        return self.labelled(to_spectrogram(wave, self._num_frames, self._num_mels), index)
