"""What recordings go through in the published fine-tuning of Audio-MAE."""

from random import Random

import torch
from torch import Tensor

MIX_SHAPE = 10.0
"""Both parameters of the Beta distribution of a mixture's share, as published: mostly near one half."""


def mix_waves(wave: Tensor, other: Tensor, share: float) -> Tensor:
    """(samples,) and another (other samples,) -> `share` of the first and the rest of the other, both without their means.

    The first one's length stays: the other is cut at its end, or followed by silence.
    """
    other = (other - other.mean())[: len(wave)]
    other = torch.nn.functional.pad(other, (0, len(wave) - len(other)))
    return share * (wave - wave.mean()) + (1 - share) * other


def mask_bands(spectrogram: Tensor, *, num_frames: int, num_mels: int, random: Random) -> Tensor:
    """SpecAugment's masks of (1, frames, mels): a band of mel bins and one of frames are zero, as before normalisation.

    `num_frames`, `num_mels`: each band is narrower than this, its width and place uniform; 0: there is none.
    """
    masked = spectrogram.clone()
    start, end = _band(num_mels, masked.shape[2], random)
    masked[:, :, start:end] = 0
    start, end = _band(num_frames, masked.shape[1], random)
    masked[:, start:end] = 0
    return masked


def _band(widest: int, length: int, random: Random) -> tuple[int, int]:
    """The start and the end of a band, rounded as torchaudio rounds them."""
    width = random.random() * widest
    start = int(random.random() * (length - width))
    return start, start + int(width)
