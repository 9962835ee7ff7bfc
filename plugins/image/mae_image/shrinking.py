"""Photographs at a bounded size, for shards that are read faster."""

import io

from PIL import Image
from torchvision.transforms.v2 import functional as F

from mae_core.data.files import File, read_content
from mae_image.reading import read_rgb


def shrink(file: File, *, shorter_side: int, quality: int) -> tuple[bytes, str]:
    """A photograph whose shorter side has `shorter_side` pixels, as JPEG of this quality; and the suffix of such files.

    It is resized as for evaluation (bicubic, antialiased), upright, and never enlarged: a JPEG that is small enough keeps its
    bytes. Raises BadSample for what cannot be read.
    """
    pixels = read_rgb(file)
    height, width = pixels.shape[1:]
    content = read_content(file)
    if min(height, width) <= shorter_side and content.startswith(b"\xff\xd8"):
        return content, ".jpg"
    if min(height, width) > shorter_side:
        pixels = F.resize(pixels, [shorter_side], interpolation=F.InterpolationMode.BICUBIC, antialias=True)
    encoded = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue(), ".jpg"
