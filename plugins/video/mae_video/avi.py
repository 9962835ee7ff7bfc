"""Frames -> a Motion-JPEG AVI file, which every decoder reads. Needs Pillow alone."""

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

QUALITY = 92
KEY_FRAME = 0x10
HAS_INDEX = 0x10
MICROSECONDS = 1_000_000


def encode_avi(frames: Sequence[np.ndarray], *, fps: int) -> bytes:
    """(H, W, 3) uint8 RGB each, all of one size -> the file (Microsoft's AVI 1.0, one `MJPG` stream, with an index)."""
    height, width, _ = frames[0].shape
    pictures = [_jpeg(frame) for frame in frames]
    main = struct.pack(
        "<14I", MICROSECONDS // fps, 0, 0, HAS_INDEX, len(frames), 0, 1, max(map(len, pictures)), width, height, 0, 0, 0, 0
    )
    stream = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", b"MJPG", 0, 0, 0, 0, 1, fps, 0, len(frames), 0, 10_000, 0, 0, 0, width, height
    )
    bitmap = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", 3 * width * height, 0, 0, 0, 0)
    stream_list = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    header = _list(b"hdrl", _chunk(b"avih", main) + stream_list)
    index, movie, position = [], [], 4  # counted from the name of the list "movi"
    for picture in pictures:
        chunk = _chunk(b"00dc", picture)
        index.append(struct.pack("<4sIII", b"00dc", KEY_FRAME, position, len(picture)))
        movie.append(chunk)
        position += len(chunk)
    body = header + _list(b"movi", b"".join(movie)) + _chunk(b"idx1", b"".join(index))
    return _chunk(b"RIFF", b"AVI " + body)


def _jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    """Name, length, data, padded to an even length."""
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)
