"""A picture of one sample by itself, whatever its modality: its values as pixels, without axes or labels."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_core.files import write_atomically

MIN_SIDE = 96
"""Smaller pictures are enlarged, in whole multiples of a pixel."""


def can_show(sample_shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape have two axes that can be those of a picture."""
    return len(sample_shape) >= 2


def write_sample(values: Tensor, path: Path) -> None:
    """Write a PNG of `values`, (H, W) or (channels, ..., H, W), as `Tokenizer.denormalize` gives them.

    Three channels are colours, of others the first one is shown; of further axes, such as time, the middle. Values that are not
    within 0 and 1 are shown from the lowest to the highest.
    """
    values = values.detach().cpu().float()
    while values.ndim > 3:
        values = values[:, values.shape[1] // 2]
    plane = values if values.ndim == 2 else values.permute(1, 2, 0) if len(values) == 3 else values[0]
    plane = plane.nan_to_num()
    low, high = min(float(plane.min()), 0.0), float(plane.max())
    if low < -0.01 or high > 1.01:
        low = float(plane.min())
        plane = (plane - low) / max(high - low, 1e-6)
    pixels = (plane.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    times = max(1, -(-MIN_SIDE // min(pixels.shape[:2])))
    picture = Image.fromarray(np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1)))
    write_atomically(path, lambda file: picture.save(file, format="PNG"))
