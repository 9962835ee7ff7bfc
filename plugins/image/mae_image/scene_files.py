"""Files of depth maps and of class labels, and pictures of their reconstructions."""

import colorsys
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_core.data.files import File, name_of
from mae_core.interfaces import BadSample, Reconstruction, Tokenizer
from mae_image import pictures
from mae_image.crops import center_crop, usual_share
from mae_image.reading import read_upright
from mae_image.scenes import SemsegPatches
from mae_registry import ConfigError

GOLDEN_RATIO = (5**0.5 - 1) / 2
PNG_BIT_DEPTH = 24
"""The byte of a PNG file that holds it."""


def read_depth(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """One file as float32 of `tokenizer.sample_shape` (1, H, W), un-augmented (`crops.center_crop`). Raises BadSample."""
    return center_crop(read_depth_map(path), tokenizer.sample_shape, interpolation="bilinear")


def read_depth_map(file: File) -> Tensor:
    """Float32 (1, H, W) in the file's own unit, from grey pixels of 8, 16 or 32 bits.

    Raises BadSample for files that cannot be read, of colours, and with a depth that is not a finite number.
    """
    return read_upright(file, _depth_pixels, formats=("PNG", "TIFF"))


def read_semseg(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """One file as int64 of `tokenizer.sample_shape` (H / stride, W / stride), un-augmented.

    Raises BadSample as `read_labels`, ConfigError if the tokenizer knows no number of classes.
    """
    if not isinstance(tokenizer, SemsegPatches):
        raise ConfigError(f"labels are read for the tokenizer 'semseg_patches', not for {type(tokenizer).__name__}")
    height, width = (side * tokenizer.stride for side in tokenizer.sample_shape)
    labels = read_labels(path, num_classes=tokenizer.num_classes)
    return center_labels(labels, tokenizer.sample_shape, share=usual_share(height, width))


def center_labels(labels: Tensor, sample_shape: tuple[int, ...], *, share: float | None) -> Tensor:
    """(1, H, W) labels -> int64 of `sample_shape` (H', W'), un-augmented. `share`: see `center_crop`."""
    return center_crop(labels, (1, *sample_shape), share=share, interpolation="nearest-exact")[0].long()


def read_labels(file: File, *, num_classes: int) -> Tensor:
    """Uint8 (1, H, W) class numbers, from the indices of a palette or 8-bit grey pixels.

    Raises BadSample for files that cannot be read, of other pixels, and with a label that is not below `num_classes`.
    """
    labels = read_upright(file, _label_pixels, formats=("PNG",))
    largest = int(labels.max())
    if largest >= num_classes:
        raise BadSample(
            f"{name_of(file)}: it contains the label {largest}, but labels go from 0 to {num_classes - 1} (num_classes)"
        )
    return labels


def write_semseg_picture(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG as for photographs, every class in a colour of its own. Raises MaeError if the file cannot be written."""
    coloured = [replace(r, sample=colours(r.sample), prediction=colours(r.prediction)) for r in reconstructions]
    return pictures.write_picture(coloured, path)


def colours(labels: Tensor) -> Tensor:
    """(H, W) class numbers -> (3, H, W) RGB from 0 to 1; the same colours in every picture, none of them grey."""
    labels = labels.long().cpu()
    palette = torch.tensor([_colour(label) for label in range(int(labels.max()) + 1)])
    return palette[labels].permute(2, 0, 1)


def _colour(label: int) -> tuple[float, float, float]:
    """Neighbouring numbers lie far apart on the circle of hues, and differ in brightness."""
    return colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1, 0.8, (1.0, 0.7, 0.45)[label % 3])


def _depth_pixels(image: Image.Image, data: bytes) -> Tensor:
    if image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        raise ValueError(f"its pixels are {image.mode}; a depth map is grey, of 8, 16 or 32 bits")
    depth = torch.from_numpy(np.asarray(image).astype(np.float32))[None]
    if not bool(depth.isfinite().all()):
        raise ValueError("some depths are not finite numbers; give pixels without a depth the largest one")
    return depth


def _label_pixels(image: Image.Image, data: bytes) -> Tensor:
    if image.mode not in ("P", "L"):
        raise ValueError(f"its pixels are {image.mode}; labels are the indices of a palette, or grey of 8 bits")
    if image.format == "PNG" and image.mode == "L" and data[PNG_BIT_DEPTH] != 8:  # Pillow would stretch these to 0..255
        raise ValueError(
            f"its pixels are grey of {data[PNG_BIT_DEPTH]} bits; labels are the indices of a palette, or grey of 8 bits"
        )
    return torch.from_numpy(np.array(image))[None]
