"""Log-mel spectrograms -> waves to listen to."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchaudio import functional as F

from mae_audio.fbank import FFT_LENGTH, FLOOR, FRAME_LENGTH, FRAME_SHIFT, PREEMPHASIS, mel_bank

MIN_FRAMES = 3
"""Fewer make a wave that is shorter than half a window, around whose ends phases cannot be found."""
NUM_PHASE_STEPS = NUM_POWER_STEPS = 32
HIGHEST_LOG_POWER = 14.0
"""The largest value of a mel bin that is played. A full-scale tone is near 9, but the output of a model may be anything."""


def to_wave(spectrogram: Tensor) -> Tensor:
    """Log-mel (frames, mels) -> (samples,) at 16 kHz, in the loudness that the spectrogram says.

    Powers of single frequencies are found that the mel bins could have summed up, then phases that go together (Griffin and Lim
    1984), then the filter bank's pre-emphasis is undone. Deterministic, and without effect on torch's global generator. NaN
    counts as silence, which also follows what has fewer than MIN_FRAMES frames.
    """
    spectrogram = pad(spectrogram, (0, 0, 0, max(0, MIN_FRAMES - len(spectrogram))), value=math.nan)
    log_power = spectrogram.float().nan_to_num(nan=math.log(FLOOR)).clamp(math.log(FLOOR), HIGHEST_LOG_POWER)
    power = _frequencies(log_power.exp())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the phases that Griffin-Lim begins with
        wave = F.griffinlim(
            power.T,
            window=torch.hann_window(FRAME_LENGTH, periodic=False),
            n_fft=FFT_LENGTH,
            hop_length=FRAME_SHIFT,
            win_length=FRAME_LENGTH,
            power=2.0,
            n_iter=NUM_PHASE_STEPS,
            momentum=0.99,
            length=None,
            rand_init=True,
        )
    # torchaudio's own deemphasis would clip what is louder than 1
    return F.lfilter(wave, torch.tensor([1.0, -PREEMPHASIS]), torch.tensor([1.0, 0.0]), clamp=False)


def _frequencies(mel_power: Tensor) -> Tensor:
    """(frames, mels) -> non-negative (frames, frequencies) whose mel power it nearly is.

    Richardson-Lucy: multiply by how much too little each bin got, spread over the frequencies that it covers; many spectra have
    one mel spectrum, and starting from a flat one finds a smooth one.
    """
    bank = mel_bank(mel_power.shape[1])
    covered = bank.sum(dim=1).clamp(min=1e-8)
    power = torch.ones(len(mel_power), len(bank))
    for _ in range(NUM_POWER_STEPS):
        power = power * ((mel_power / (power @ bank).clamp(min=1e-12)) @ bank.T) / covered
    return power
