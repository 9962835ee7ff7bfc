"""The mean and standard deviation of each channel, for tokenizers that take them off and divide by them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mae_registry import MaeError


def measure_channels(samples: Iterable[Tensor]) -> dict[str, list[float]]:
    """The `mean` and `std` of samples (C, ...) of one shape; bytes count as 0 to 1.

    Raises MaeError if there are none, and for a channel that never changes.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for sample in samples:
        values = sample.double().flatten(1) / (255 if sample.dtype == torch.uint8 else 1)
        count += values.shape[1]
        total = total + values.sum(dim=1)
        squares = squares + values.square().sum(dim=1)
    if not count:
        raise MaeError("there is no sample to measure")
    mean = total / count
    variance = squares / count - mean.square()
    constant = variance < 1e-12 * mean.square().clamp(min=1)
    if constant.any():
        number = int(constant.int().argmax())
        raise MaeError(f"channel {number + 1} is {mean[number]:g} throughout, which has no standard deviation to divide by")
    return {"mean": mean.tolist(), "std": variance.sqrt().tolist()}
