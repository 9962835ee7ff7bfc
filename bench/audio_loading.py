"""10 s of sound -> log-mel spectrogram, one core, beside torchaudio used plainly.

    python bench/audio_loading.py [--clips 20] [--rounds 7]

First the filter bank alone, of one clip at a time and of a batch, beside torchaudio.compliance.kaldi.fbank. Then whole files of
several formats and rates, made on the fly: the peer reads a file with soundfile, resamples it with torchaudio and calls
kaldi.fbank; `audio_folder` reads it from a folder, and from shards. Rounds alternate, and medians of processor time are
compared, so that a busy machine matters little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor
from torchaudio.compliance import kaldi

from mae_audio.datasets import AudioFolder
from mae_audio.fbank import fbank
from mae_core.data.make_shards import make_shards
from mae_core.data.shard_writer import open_output

SECONDS, BATCH = 10, 8
SHAPE = 1, 1024, 128
FILES = (("wav", 16_000), ("flac", 16_000), ("wav", 44_100), ("ogg", 44_100), ("mp3", 44_100))
Variants = Mapping[str, tuple[int, Callable[[], object]]]
"""What is timed, by name: the number of clips of one call, and the call. The first one is the peer."""


def published(wave: Tensor) -> Tensor:
    options = {"use_energy": False, "window_type": "hanning", "num_mel_bins": 128, "dither": 0.0, "frame_shift": 10}
    return kaldi.fbank(wave[None], htk_compat=True, sample_frequency=16_000, **options)


def load_plainly(path: Path) -> Tensor:
    samples, rate = soundfile.read(path, dtype="float32")
    wave = torch.from_numpy(samples)
    return published(wave if rate == 16_000 else torchaudio.functional.resample(wave, rate, 16_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20, help="a round and variant")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    noise = 0.1 * torch.randn(BATCH, 16_000 * SECONDS, generator=torch.Generator().manual_seed(0))
    filter_banks: Variants = {
        "kaldi.fbank": (1, lambda: published(noise[0])),
        "fbank, one clip at a time": (1, lambda: fbank(noise[0], 128)),
        f"fbank, a batch of {BATCH}": (BATCH, lambda: fbank(noise, 128)),
    }
    compare(filter_banks, num_clips=options.clips, num_rounds=options.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        for suffix, rate in FILES:
            path = Path(temporary) / f"{suffix}{rate}" / f"a.{suffix}"
            path.parent.mkdir()
            soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(rate * SECONDS), rate)
            compare(of_files(path, f"{suffix} of {rate} Hz"), num_clips=options.clips, num_rounds=options.rounds)
    error = (fbank(noise[0], 128) - published(noise[0])).abs().max()
    print(f"largest difference between the two filter banks: {float(error):.1e}")


def of_files(path: Path, title: str) -> Variants:
    folder = AudioFolder(SHAPE, root=str(path.parent))
    packed = f"{path.parent}-shards"
    make_shards(folder.store, open_output(packed), labels=None, shard_bytes=2**28)
    shards = AudioFolder(SHAPE, root=packed)
    return {
        f"{title}: plainly": (1, lambda: load_plainly(path)),
        f"{title}: audio_folder": (1, lambda: folder.load(0, random=Random(0))),
        f"{title}: shards": (1, lambda: shards.load(0, random=Random(0))),
    }


def compare(variants: Variants, *, num_clips: int, num_rounds: int) -> None:
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for _, run in variants.values():  # constants and files into memory
        run()
    for _ in range(num_rounds):
        for name, (size, run) in variants.items():
            num_runs = max(1, num_clips // size)
            start = time.process_time()
            for _ in range(num_runs):
                run()
            costs[name].append((time.process_time() - start) / (num_runs * size))
    peer = next(iter(variants))
    base = statistics.median(costs[peer])
    for name, values in costs.items():
        cost = statistics.median(values)
        print(f"{name:32}{1 / cost:7.0f} clips a second  {base / cost:5.2f} x {peer}")


if __name__ == "__main__":
    main()
