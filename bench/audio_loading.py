"""10 s of sound -> log-mel spectrogram, one core: clips per second of this project's filter bank and of torchaudio's.

    python bench/audio_loading.py [--clips 20] [--rounds 7]

Rounds alternate, so that a busy machine slows all alike; the medians and their ratio are printed. The filter bank is timed
alone, of one clip at a time and of a batch, and as a part of loading files of several formats and rates, made on the fly.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from mae_audio.datasets import AudioFolder
from mae_audio.fbank import fbank

SECONDS, BATCH = 10, 8
FILES = (("wav", 16_000), ("flac", 16_000), ("wav", 44_100), ("ogg", 44_100), ("mp3", 44_100))


def published(wave: Tensor) -> Tensor:
    options = {"use_energy": False, "window_type": "hanning", "num_mel_bins": 128, "dither": 0.0, "frame_shift": 10}
    return kaldi.fbank(wave[None], htk_compat=True, sample_frequency=16_000, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20, help="a round and variant")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    noise = 0.1 * torch.randn(BATCH, 16_000 * SECONDS, generator=torch.Generator().manual_seed(0))
    variants: dict[str, tuple[int, Callable[[], object]]] = {
        "torchaudio kaldi.fbank": (1, lambda: published(noise[0])),
        "fbank, one clip at a time": (1, lambda: fbank(noise[0], 128)),
        f"fbank, a batch of {BATCH}": (BATCH, lambda: fbank(noise, 128)),
    }
    with tempfile.TemporaryDirectory() as temporary:
        for suffix, rate in FILES:
            path = Path(temporary) / f"{suffix}{rate}" / f"a.{suffix}"
            path.parent.mkdir()
            soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(rate * SECONDS), rate)
            folder = AudioFolder((1, 1024, 128), root=str(path.parent))
            variants[f"audio_folder, {suffix} of {rate} Hz"] = 1, lambda folder=folder: folder.load(0, random=Random(0))
        compare(variants, num_clips=options.clips, num_rounds=options.rounds)
    error = (fbank(noise[0], 128) - published(noise[0])).abs().max()
    print(f"largest difference between the two filter banks: {float(error):.1e}")


def compare(variants: dict[str, tuple[int, Callable[[], object]]], *, num_clips: int, num_rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _, run in variants.values():  # constants and files into memory
        run()
    for _ in range(num_rounds):
        for name, (size, run) in variants.items():
            num_runs = max(1, num_clips // size)
            start = time.perf_counter()
            for _ in range(num_runs):
                run()
            rates[name].append(num_runs * size / (time.perf_counter() - start))
    slow = statistics.median(rates["torchaudio kaldi.fbank"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:32}{rate:7.0f} clips/s  {rate / slow:5.2f} x kaldi.fbank")


if __name__ == "__main__":
    main()
