"""The mean and standard deviation of spectrograms, for the tokenizer's `mean` and `std`."""

import math
from collections.abc import Iterable

from torch import Tensor

from mae_registry import MaeError


def measure(spectrograms: Iterable[Tensor]) -> dict[str, float]:
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
        raise MaeError("there is no spectrogram to measure")
    mean = total / count
    return {"mean": mean, "std": math.sqrt(max(0.0, squares / count - mean**2))}
