"""Files of satellite images: arrays and TIFFs of many bands, and archives of images with their dates."""

import io
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import tifffile
import torch
from torch import Tensor
from torch.nn import functional as F

from mae_core.data.boxes import Box, largest_box
from mae_core.data.files import File, name_of, one_line, read_content
from mae_core.interfaces import BadSample, Sample, Tokenizer
from mae_methods.satmae.positions import NUM_UNITS, TIMESTAMPS
from mae_registry import ConfigError

Decoded = TypeVar("Decoded")


def read_bands(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """The middle of one file as uint8 of `tokenizer.sample_shape` (bands, H, W). Raises BadSample.

    Its values must be bytes, of as many bands as the tokenizer takes: only the dataset knows how others are scaled.
    """
    planes, (num_bands, *size) = read_planes(path), tokenizer.sample_shape
    if planes.dtype != torch.uint8 or len(planes) != num_bands:
        raise BadSample(
            f"{os.fspath(path)}: has {len(planes)} bands of {str(planes.dtype).removeprefix('torch.')}, and the model takes "
            f"{num_bands} of bytes; only the dataset satmae_bands_folder knows which bands these are, and what values mean"
        )
    return resized(planes, largest_box(*planes.shape[1:], like=(size[0], size[1])), size)


def read_dated(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Sample:
    """The middle of the first images of one file as uint8 of `tokenizer.sample_shape` (3, images, H, W), with their dates.

    Raises BadSample.
    """
    sample, (_, num_images, *size) = read_archive(path), tokenizer.sample_shape
    if sample.x.shape[1] < num_images:
        raise BadSample(f"{os.fspath(path)}: holds {sample.x.shape[1]} images; the model takes {num_images}")
    box = largest_box(*sample.x.shape[2:], like=(size[0], size[1]))
    return Sample(resized(sample.x[:, :num_images], box, size), {TIMESTAMPS: sample.extras[TIMESTAMPS][:num_images]})


def read_planes(file: File) -> Tensor:
    """(bands, H, W) of numbers as the file has them: an array in a .npy file, or a TIFF, with the bands first or last.

    The bands are the last axis where that is the shortest of all, and else the first. Raises BadSample.
    """
    array = _decoded(file, _tiff if name_of(file).lower().endswith((".tif", ".tiff")) else _array)
    if array.ndim != 3 or 0 in array.shape:
        raise BadSample(f"{name_of(file)}: has the shape {array.shape}; an image of several bands has three axes")
    planes = np.moveaxis(array, 2, 0) if array.shape[2] < min(array.shape[:2]) else array
    return torch.from_numpy(np.ascontiguousarray(_known_numbers(planes, file)))


def read_archive(file: File) -> Sample:
    """(3, images, H, W) uint8 with its `timestamps` (images, 3), from the arrays of a .npz file.

    `images` (images, H, W, 3) are bytes; `timestamps` (images, 3) the year less 2002, the month less 1, and the hour of each.
    Raises BadSample.
    """
    arrays = _decoded(file, _arrays)
    images, stamps = arrays.get("images"), arrays.get(TIMESTAMPS)
    if images is None or stamps is None:
        raise BadSample(f"{name_of(file)}: holds {', '.join(arrays) or 'nothing'}; it must hold images and {TIMESTAMPS}")
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape:
        raise BadSample(
            f"{name_of(file)}: images has the shape {images.shape} of {images.dtype}; it must be bytes of shape "
            "(images, height, width, 3)"
        )
    if stamps.shape != (len(images), NUM_UNITS) or stamps.dtype.kind not in "iuf":
        raise BadSample(f"{name_of(file)}: {TIMESTAMPS} has the shape {stamps.shape}, not {(len(images), NUM_UNITS)}")
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 0, 1, 2)))
    return Sample(x, {TIMESTAMPS: torch.from_numpy(stamps.astype(np.int64))})


def check_axes(sample_shape: tuple[int, ...], names: str) -> tuple[int, ...]:
    """The shape. Raises ConfigError where it has not the axes that these data have."""
    if len(sample_shape) != len(names.split(", ")):
        raise ConfigError(
            f"the tokenizer takes samples of shape {sample_shape}, and these are ({names}): "
            "name the dataset and the tokenizer of one modality"
        )
    return sample_shape


def resized(planes: Tensor, box: Box, size: Sequence[int]) -> Tensor:
    """A box of bytes (..., H, W) -> (..., *size), bicubic and antialiased."""
    cut = box.cut(planes)
    scaled = F.interpolate(cut.flatten(0, -3)[None].float(), size=tuple(size), mode="bicubic", antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8).unflatten(0, cut.shape[:-2])


def _decoded(file: File, decode: Callable[[io.BytesIO], Decoded]) -> Decoded:
    content = io.BytesIO(read_content(file))
    try:
        return decode(content)
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise BadSample(f"{name_of(file)}: cannot be decoded: {one_line(error)}") from error


def _tiff(content: io.BytesIO) -> np.ndarray:
    return tifffile.imread(content)


def _array(content: io.BytesIO) -> np.ndarray:
    return np.lib.format.read_array(content, allow_pickle=False)


def _arrays(content: io.BytesIO) -> dict[str, np.ndarray]:
    with np.load(content, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _known_numbers(planes: np.ndarray, file: File) -> np.ndarray:
    """The values in a type that torch computes with."""
    if planes.dtype == np.uint8:
        return planes
    if planes.dtype.kind not in "iuf":
        raise BadSample(f"{name_of(file)}: its values are {planes.dtype}, which are not numbers")
    return planes.astype(np.float32)
