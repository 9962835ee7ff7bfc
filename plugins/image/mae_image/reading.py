"""Image files -> upright 8-bit RGB tensors.

Ordinary JPEGs are decoded by simplejpeg, in two thirds of the time that Pillow takes and to the same bits; all else by Pillow.
"""

import functools
import io
import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from simplejpeg import decode_jpeg, decode_jpeg_header
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from mae_core.data.files import Content, File, name_of, one_line, read_content
from mae_core.interfaces import BadSample, Tokenizer
from mae_image.crops import center_crop

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What is opened, by Pillow's names. It knows more, and tells them by content: one of these runs PostScript."""
MAX_PIXELS = 2**28
"""The largest number of pixels, unless more are allowed: a damaged or malicious file of a few bytes may promise any number."""

APP1, SCAN = 0xE1, 0xDA
"""Marks of the segments of a JPEG that hold EXIF and the like, and of the first one with pixels."""
Scale = Callable[[int, int], int]
"""Of an upright image of this height and width: by how much its sides may be divided when it is decoded, 1, 2, 4 or 8."""

_UPRIGHT: dict[int, Callable[[Tensor], Tensor]] = {
    2: lambda image: image.flip(2),
    3: lambda image: image.flip(1, 2),
    4: lambda image: image.flip(1),
    5: lambda image: image.transpose(1, 2),
    6: lambda image: image.transpose(1, 2).flip(2),
    7: lambda image: image.transpose(1, 2).flip(1, 2),
    8: lambda image: image.transpose(1, 2).flip(1),
}
"""How to turn a stored picture upright, by its EXIF orientation. The usual one, 1, is upright already."""
_TURNED = (5, 6, 7, 8)
"""The orientations whose width is the height of the upright picture."""


def read_image(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """One file as uint8 of `tokenizer.sample_shape`, un-augmented (`crops.center_crop`).

    Raises BadSample if it cannot be read, ConfigError if the tokenizer wants other than 1 or 3 channels.
    """
    return center_crop(read_rgb(path), tokenizer.sample_shape)


def read_rgb(file: File, *, max_pixels: int = MAX_PIXELS, scale: Scale | None = None) -> Tensor:
    """(3, H, W) uint8 of a file: upright (EXIF), the first frame of an animation.

    Grey values fill all three channels; transparent pixels are laid over white; 16 bits are scaled to 8. `scale` is asked once
    for a JPEG, and not for others, by how much the sides may be divided when it is decoded; they are rounded up.
    Raises BadSample, with the path and the reason on one line, for what is no complete image of at most `max_pixels`.
    """

    name, data = name_of(file), read_content(file)
    ask = functools.cache(scale or _whole)
    if (plain := _plain_jpeg(data, max_pixels, ask)) is not None:
        return plain

    def pixels(image: Image.Image, data: bytes) -> Tensor:
        if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
            return pil_to_tensor(_to_rgb(image))
        height, width = image.size[::-1]
        divisor = ask(width, height) if _orientation(image) in _TURNED else ask(height, width)
        decoded = _decode_jpeg(data, height, width, divisor)
        return pil_to_tensor(_to_rgb(image)) if decoded is None else decoded

    return read_upright(Content(name, data), pixels, max_pixels=max_pixels)


def read_upright(
    file: File,
    pixels: Callable[[Image.Image, bytes], Tensor],
    *,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> Tensor:
    """What `pixels` takes from the opened image and the file's bytes, (C, H, W), turned upright.

    Raises BadSample for whatever goes wrong, `pixels` raising anything included.
    """
    name, data = name_of(file), read_content(file)
    try:
        with warnings.catch_warnings(), _at_most(max_pixels):
            warnings.simplefilter("ignore")  # odd metadata: none of a training run's business
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data, pixels, formats)
    except UnidentifiedImageError as error:
        raise BadSample(f"{name}: it is not an image in a format that can be read ({', '.join(formats)})") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        problem = f"it has more than {max_pixels:,} pixels; allow more with max_pixels of its dataset"
        raise BadSample(f"{name}: {problem}") from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise BadSample(f"{name}: the image cannot be decoded: {one_line(error)}") from error


@contextmanager
def _at_most(max_pixels: int) -> Generator[None]:
    """Pillow's own limit, which is one for the whole process, is ours meanwhile."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(data: bytes, pixels: Callable[[Image.Image, bytes], Tensor], formats: tuple[str, ...]) -> Tensor:
    with Image.open(io.BytesIO(data), formats=formats) as image:  # reads the header only, and refuses decompression bombs
        tensor = pixels(image, data)
        # asked after decoding, because Pillow turns TIFFs by itself and drops their orientation then
        orientation = _orientation(image)
    return _UPRIGHT[orientation](tensor) if orientation in _UPRIGHT else tensor


def _whole(height: int, width: int) -> int:
    """See `Scale`: nothing is divided."""
    return 1


def _plain_jpeg(data: bytes, max_pixels: int, scale: Scale) -> Tensor | None:
    """An ordinary JPEG without EXIF, decoded; None for all else, which Pillow reads, or refuses with a reason."""
    if not data.startswith(b"\xff\xd8\xff") or _may_be_turned(data):
        return None
    try:
        height, width, colors, _ = (part if isinstance(part, str) else int(part) for part in decode_jpeg_header(data))
    except ValueError:
        return None
    assert isinstance(height, int)
    assert isinstance(width, int)
    if colors not in ("YCbCr", "RGB", "Gray") or height * width > max_pixels:
        return None
    return _decode_jpeg(data, height, width, scale(height, width))


def _may_be_turned(data: bytes) -> bool:
    """Whether a JPEG has a segment that may say its orientation, or is unusual before its pixels begin."""
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else APP1
        if marker in (SCAN, APP1):
            return marker == APP1
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return True


def _decode_jpeg(data: bytes, height: int, width: int, divisor: int) -> Tensor | None:
    """(3, H, W) as it is stored, its sides divided and rounded up; None for what is damaged, of which Pillow may read more."""
    least = (-(-height // divisor), -(-width // divisor)) if divisor > 1 else (0, 0)  # 0: whole
    try:
        return torch.from_numpy(decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1])).permute(2, 0, 1)
    except ValueError:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")  # 65535 / 257 = 255, rounded
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit ({image.mode}), which have no fixed range; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata does not damage the picture, and says nothing of its orientation
        return 1
