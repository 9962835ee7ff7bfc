"""Waves -> log-mel spectrograms, as the published Audio-MAE computes them (Kaldi's filter bank, as torchaudio has it)."""

import functools

import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from mae_registry import ConfigError

SAMPLE_RATE = 16_000
FRAME_LENGTH, FRAME_SHIFT = 400, 160
"""Samples: 25 ms every 10 ms, so that 10 s are 998 frames."""
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SHIFT
FFT_LENGTH = 512
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
FLOOR = torch.finfo(torch.float32).eps
"""Least power of a mel bin; silence is its logarithm, -15.9."""


def fbank(wave: Tensor, num_mels: int) -> Tensor:
    """Waves (..., samples) of 16 kHz, at least `FRAME_LENGTH` long -> log-mel (..., frames, num_mels), whole frames only.

    Equals `torchaudio.compliance.kaldi.fbank(wave, htk_compat=True, sample_frequency=16000, use_energy=False,
    window_type="hanning", num_mel_bins=num_mels, dither=0.0, frame_shift=10)` of each wave to 1e-5, in less than half its
    time: the same operations in the same order, but with constants kept and copies avoided. Frames are rounded like it too,
    because in a pure tone most bins hold rounding errors, which the logarithm shows.
    """
    frames = wave.unfold(-1, FRAME_LENGTH, FRAME_SHIFT)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    padded = frames.new_zeros(*frames.shape[:-1], FFT_LENGTH)
    emphasized = padded[..., :FRAME_LENGTH]
    torch.mul(frames[..., :-1], PREEMPHASIS, out=emphasized[..., 1:])
    torch.mul(frames[..., 0], PREEMPHASIS, out=emphasized[..., 0])
    torch.sub(frames, emphasized, out=emphasized)
    emphasized *= _window().to(wave)
    spectrum = torch.fft.rfft(padded)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ mel_bank(num_mels).to(wave)).clamp_(min=FLOOR).log_()


@functools.cache
def mel_bank(num_mels: int) -> Tensor:
    """(frequencies, num_mels): the share of each FFT frequency in each triangular mel bin. Raises ConfigError if too few."""
    if num_mels < 4:
        raise ConfigError(f"a spectrogram of {num_mels} mel bins is too coarse; use at least 4 (published: 128)")
    bank, _ = kaldi.get_mel_banks(num_mels, FFT_LENGTH, SAMPLE_RATE, LOWEST_HZ, 0.0, 100.0, -500.0, 1.0)
    return torch.cat([bank, torch.zeros(num_mels, 1)], dim=1).T.contiguous()


def num_samples(num_frames: int) -> int:
    """Length of the shortest wave of so many frames."""
    return FRAME_LENGTH + (num_frames - 1) * FRAME_SHIFT


@functools.cache
def _window() -> Tensor:
    return torch.hann_window(FRAME_LENGTH, periodic=False)
