"""Recordings to train on: a folder of files."""

import os
from collections.abc import Sequence
from random import Random

import numpy as np
from torch import Tensor

from mae_audio.fbank import num_samples
from mae_audio.modality import AUDIO
from mae_audio.reading import checked_shape, read_wave, to_spectrogram
from mae_core.interfaces import BadSample, Dataset, Preview
from mae_registry import ConfigError


class AudioFolder(Dataset):
    """The audio files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Files of any sample rate, number of channels and length: resampled to 16 kHz, channels averaged, a random part of those
    that are longer than the sample, zeros after those that are shorter. Names that begin with a dot are left out.

    Args:
        root: the folder.
        roll_mag_aug: multiply each wave by 0.5 + Beta(10, 10), the published augmentation of that name. Its other half, rolling
            the wave, never takes place there: it draws the distance below the number of channels, which is one.
    """

    def __init__(self, sample_shape: tuple[int, ...], *, root: str | None = None, roll_mag_aug: bool = True) -> None:
        _, self._num_frames, self._num_mels = checked_shape(sample_shape)
        if not root:
            raise ConfigError("audio_folder does not know where the data are: give data.audio.root=DIR, a folder of recordings")
        self._root = os.path.abspath(os.path.expanduser(root))
        self._roll_mag_aug = roll_mag_aug
        names = _list_files(self._root)
        # one bytes object rather than a million: small, quick to send to workers, and never copied by reference counts
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names])

    def __len__(self) -> int:
        return len(self._ends)

    def load(self, index: int, *, random: Random) -> Tensor:
        """A random part of one file, log-mel float32."""
        wave = read_wave(self.describe(index), max_samples=num_samples(self._num_frames), random=random)
        if self._roll_mag_aug:
            wave = wave * (0.5 + random.betavariate(10, 10))
        return to_spectrogram(wave, self._num_frames, self._num_mels)

    def read(self, index: int) -> Tensor:
        """The beginning of one file, un-augmented, log-mel float32. Raises BadSample."""
        wave = read_wave(self.describe(index), max_samples=num_samples(self._num_frames))
        return to_spectrogram(wave, self._num_frames, self._num_mels)

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self._root, self._name(index))

    def previews(self, count: int) -> Sequence[Preview]:
        """The beginnings of files spread evenly over the folder, all training ones; those that cannot be read are left out."""
        previews: list[Preview] = []
        count = min(count, len(self))
        for index in (i * len(self) // count for i in range(count)):
            try:
                sample = self.read(index)
            except BadSample:
                continue
            previews.append(Preview(self._name(index), sample, "training"))
        return previews

    def _name(self, index: int) -> str:
        start = self._ends[index - 1] if index > 0 else 0
        return os.fsdecode(self._names[start : self._ends[index]])


def _list_files(root: str) -> list[bytes]:
    """Names of the audio files below `root`, relative to it, sorted. Raises ConfigError if there are none."""
    if not os.path.isdir(root):
        what = "is a file; give the folder that holds the recordings" if os.path.exists(root) else "does not exist"
        raise ConfigError(f"data.audio.root: {root} {what}")
    suffixes = tuple(map(os.fsencode, AUDIO.file_suffixes))
    names: list[bytes] = []
    num_others = 0
    for folder, folders, files in os.walk(os.fsencode(root), onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        visible = [name for name in files if not name.startswith(b".")]
        found = [os.path.join(folder, name) for name in visible if name.lower().endswith(suffixes)]
        names += [os.path.relpath(path, os.fsencode(root)) for path in found]
        num_others += len(visible) - len(found)
    if not names:
        raise ConfigError(
            f"data.audio.root: {root} holds {num_others} other files but no recordings; "
            f"read are {', '.join(AUDIO.file_suffixes)}"
        )
    return sorted(names)


def _refuse(error: OSError) -> None:
    raise ConfigError(f"data.audio.root: {os.fsdecode(error.filename)} cannot be listed: {error.strerror}") from error
