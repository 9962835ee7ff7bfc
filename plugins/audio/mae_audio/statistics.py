"""The mean and standard deviation of a folder's spectrograms, for the tokenizer's `mean` and `std`.

python -m mae_audio.statistics FOLDER --frames 512
"""

import argparse
import math
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.progress import track
from torch import Tensor

from mae_audio.datasets import AudioFolder
from mae_core.interfaces import BadSample
from mae_registry import MaeError


def measure(spectrograms: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and standard deviation of all values together, those of the padding too: what the model takes in.

    Raises MaeError if there are none.
    """
    count, total, squares = 0, 0.0, 0.0
    for spectrogram in spectrograms:
        values = spectrogram.double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
    if not count:
        raise MaeError("there is not one spectrogram to measure")
    mean = total / count
    return mean, math.sqrt(max(0.0, squares / count - mean**2))


def main(arguments: list[str] | None = None) -> None:
    """Print two lines of YAML; progress, and files that cannot be read, go to standard error."""
    parser = argparse.ArgumentParser(prog="python -m mae_audio.statistics", description=__doc__)
    parser.add_argument("folder", help="recordings: .wav, .flac, .ogg, .mp3, in any folders below")
    parser.add_argument("--frames", type=int, default=1024, help="of a sample, 10 ms each (default: 1024)")
    parser.add_argument("--mels", type=int, default=128, help="mel bins (default: 128)")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)

    def spectrograms() -> Iterable[Tensor]:
        for index in track(range(len(folder)), description="reading", console=console):
            try:
                yield folder.read(index)
            except BadSample as error:
                console.print(f"left out: {error}", markup=False, soft_wrap=True)

    try:
        folder = AudioFolder((1, options.frames, options.mels), root=options.folder)
        mean, std = measure(spectrograms())
    except MaeError as error:
        sys.exit(f"error: {error}")
    print(f"mean: {mean:.7f}\nstd: {std:.7f}")


if __name__ == "__main__":
    main()
