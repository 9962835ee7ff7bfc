"""Audio files -> spectrograms of one shape: decoding, resampling, cropping, padding."""

import functools
import math
import os
from fractions import Fraction
from random import Random
from typing import BinaryIO

import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import Resample

from mae_audio.fbank import FRAME_LENGTH, SAMPLE_RATE, fbank, num_samples
from mae_core.data.files import Content, File, one_line, open_content, require_content
from mae_core.interfaces import BadSample, Tokenizer
from mae_registry import ConfigError

MIN_RATE, MAX_RATE = 2_000, 384_000
"""Sample rates that are taken for sound, in Hz."""
MAX_RATIO = 640
"""Sample rates are resampled by a fraction of at most this denominator: exactly for all usual ones (11,025 Hz needs 640), to a
few millionths for odd ones, whose exact kernel would take gigabytes."""
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
"""What is read, by libsndfile's names. It knows more, and tells them by content, whatever the file is called."""
UNKNOWN_LENGTH = 2**62
"""Samples that libsndfile gives a stream whose header does not say."""
MAX_LEVEL = 1e6
"""Samples are from -1 to 1; float files may exceed that, but not by this much."""


def read_spectrogram(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """One file as log-mel float32 of `tokenizer.sample_shape`, (1, frames, mels): its beginning, un-augmented.

    Raises BadSample if it cannot be read.
    """
    _, num_frames, num_mels = checked_shape(tokenizer.sample_shape)
    wave = read_wave(path, max_samples=num_samples(num_frames))
    return to_spectrogram(wave, num_frames, num_mels)


def read_wave(file: File, *, max_samples: int | None = None, random: Random | None = None) -> Tensor:
    """(samples,) float32 at 16 kHz, channels averaged: at most `max_samples` from the start, or from anywhere with `random`.

    Raises BadSample, with the path and the reason on one line, for what is no audio, is damaged, holds NaN, or is shorter than
    one frame (25 ms). Only the part that is returned is decoded. A WAV or OGG file that was cut off is a shorter recording:
    its reader cannot tell.
    """
    name = require_content(file)
    try:
        with open_content(file) as raw:
            # libsndfile reads a file itself faster than through Python
            source = raw if isinstance(file, Content) else raw.fileno()
            rate, ratio, samples = _decode(source, name, max_samples, random)
    except OSError as error:
        raise BadSample(f"{name}: the file cannot be read: {error.strerror}") from error
    if len(samples) * ratio < FRAME_LENGTH:
        seconds = len(samples) / rate
        raise BadSample(f"{name}: {seconds:.4g} s of audio are shorter than one frame, {FRAME_LENGTH / SAMPLE_RATE} s")
    peak = float(samples.abs().max())
    if not peak <= MAX_LEVEL:  # so that NaN is caught as well
        raise BadSample(f"{name}: it contains samples that are NaN, infinite or far out of range (largest: {peak:g})")
    wave = samples.mean(dim=1)
    return wave if ratio == 1 else _resampler(ratio)(wave)[:max_samples]


def to_spectrogram(wave: Tensor, num_frames: int, num_mels: int) -> Tensor:
    """(samples,) -> log-mel (1, num_frames, num_mels): cut at the end, or padded with zeros there, as published.

    The padding comes before the normalisation, so it is no silence: zero is above the mean of most data.
    """
    wave = wave[: num_samples(num_frames)]
    spectrogram = fbank(wave - wave.mean(), num_mels)
    padding = num_frames - len(spectrogram)
    return torch.nn.functional.pad(spectrogram, (0, 0, 0, padding)).unsqueeze(0)


def checked_shape(sample_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(1, frames, mels). Raises ConfigError for another shape."""
    if len(sample_shape) != 3 or sample_shape[0] != 1:
        raise ConfigError(f"a spectrogram has the shape (1, frames, mels); the tokenizer takes {tuple(sample_shape)}")
    _, num_frames, num_mels = sample_shape
    return 1, num_frames, num_mels


def _ratio(rate: int, name: str) -> Fraction:
    """16 kHz over the file's rate."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadSample(f"{name}: its sample rate of {rate} Hz is not one for sound ({MIN_RATE} to {MAX_RATE} Hz)")
    return 1 / Fraction(rate, SAMPLE_RATE).limit_denominator(MAX_RATIO)


def _decode(source: int | BinaryIO, name: str, max_samples: int | None, random: Random | None) -> tuple[int, Fraction, Tensor]:
    """The file's rate, 16 kHz over it, and (samples, channels) float32 at the file's rate."""
    try:
        file = soundfile.SoundFile(source, closefd=False)
    except soundfile.LibsndfileError as error:
        raise BadSample(f"{name}: it is not audio, or has a format that cannot be read: {error.error_string}") from error
    except Exception as error:
        raise BadSample(f"{name}: it is not audio, or has a format that cannot be read: {one_line(error)}") from error
    with file:
        if file.format not in FORMATS:
            raise BadSample(f"{name}: its format, {file.format}, is not one that can be read ({', '.join(FORMATS)})")
        ratio = _ratio(file.samplerate, name)
        if file.frames >= UNKNOWN_LENGTH:
            raise BadSample(f"{name}: its header does not say how long it is; encode it again")
        wanted = file.frames if max_samples is None else min(file.frames, math.ceil(max_samples / ratio))
        try:
            if random is not None:
                file.seek(random.randint(0, file.frames - wanted))
            samples = torch.from_numpy(file.read(wanted, dtype="float32", always_2d=True))
        except Exception as error:  # of libsndfile, of its wrapper, or of a header that promises more than memory holds
            raise BadSample(f"{name}: the audio cannot be decoded: {one_line(error)}") from error
    if len(samples) < wanted:
        raise BadSample(f"{name}: the audio is truncated: it ends {wanted - len(samples)} samples before its header says")
    return file.samplerate, ratio, samples


@functools.lru_cache(maxsize=8)
def _resampler(ratio: Fraction) -> Resample:
    """The resampler, kept with its kernel, which takes longer to compute than to use."""
    return Resample(ratio.denominator, ratio.numerator)
