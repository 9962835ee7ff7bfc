"""Clips to try video with, where there are none: a camera moving over the photographs that scikit-image carries."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import skimage
from PIL import Image
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Dataset, Preview, Sample
from mae_core.interfaces.numbers import Positive, Probability, Share
from mae_video.avi import encode_avi
from mae_video.clips import checked_shape
from mae_video.datasets import MULTI_SCALE, VideoFolder
from mae_video.reading import Reader

PHOTOGRAPHS = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "moon.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "held_out": ("chelsea.png", "coffee.png"),
}
"""True photographs, by split. Nothing is downloaded."""

NUM_PATHS = 16
"""Ways of the camera over each photograph."""
NUM_FRAMES, FPS, SIDE = 16, 8, 96
WINDOW = (0.15, 0.8)
"""Side of what the camera sees at first, as a share of the photograph's shorter one: from details to nearly everything."""
MAX_ZOOM, MAX_PAN = 1.5, 0.3
"""The largest movement from the first frame to the last: the factor of the side, and the way along each axis in sides."""


class MovingPhotographs(Dataset):
    """Videos of 2 s, 96 x 96, in which a camera pans and zooms over a photograph; two photographs are held out.

    They are Motion-JPEG files, made at the first use in `folder` (default: mae-moving-photographs among the temporary files)
    and read as those of `video_folder`. An epoch is `repeats` clips of each.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        folder: str | None = None,
        split: Literal["train", "held_out"] = "train",
        repeats: Positive = 1,
        stride: Positive = 1,
        multi_scale: tuple[Share, ...] = MULTI_SCALE,
        flip: Probability = 0.0,
        reader: Reader = "auto",
    ) -> None:
        checked_shape(sample_shape)
        # another user's files must not be in the way
        place = Path(folder) if folder else Path(tempfile.gettempdir()) / f"mae-moving-photographs-{os.getuid()}"
        self._repeats = repeats

        def videos(name: str) -> VideoFolder:
            make_videos(place / name, PHOTOGRAPHS[name])
            return VideoFolder(
                sample_shape, root=str(place / name), stride=stride, multi_scale=multi_scale, flip=flip, reader=reader
            )

        self._videos = videos(split)
        self._other = videos("held_out" if split == "train" else "train")

    def __len__(self) -> int:
        return self._repeats * len(self._videos)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """A random crop of a random part of video `index` modulo their number."""
        return self._videos.load(index % len(self._videos), random=random)

    def describe(self, index: int) -> str:
        """The path of the file."""
        return self._videos.describe(index % len(self._videos))

    def previews(self, count: int) -> Sequence[Preview]:
        """The other split's videos, which are held out, in one half; this one's in the other."""
        held_out = [Preview(p.title, p.sample, "held out") for p in self._other.previews(count - count // 2)]
        return [*held_out, *self._videos.previews(count - len(held_out))]


def make_videos(folder: Path, photographs: Sequence[str]) -> None:
    """Write the files that `folder` lacks."""
    source = Path(skimage.__file__).parent / "data"
    for name in photographs:
        paths = [folder / f"{Path(name).stem}-{number}.avi" for number in range(NUM_PATHS)]
        if all(path.exists() for path in paths):
            continue
        with Image.open(source / name) as image:
            photograph = image.convert("RGB")
        for path in paths:
            data = encode_avi(move_camera(photograph, Random(path.name)), fps=FPS)
            write_atomically(path, lambda file, data=data: file.write(data))


def move_camera(photograph: Image.Image, random: Random) -> list[np.ndarray]:
    """NUM_FRAMES frames (SIDE, SIDE, 3) uint8 of a square window that moves evenly from one place and size to another."""
    side = min(photograph.size) * random.uniform(*WINDOW)
    last_side = min(min(photograph.size), side * MAX_ZOOM ** random.uniform(-1, 1))
    ends: list[tuple[float, float]] = [(side, last_side)]
    for length in photograph.size:
        start = random.uniform(0, length - side)
        last = start + side * random.uniform(-MAX_PAN, MAX_PAN)
        ends.append((start, min(max(last, 0), length - last_side)))
    frames = []
    for share in np.linspace(0, 1, NUM_FRAMES):
        side, left, top = ((1 - share) * first + share * last for first, last in ends)
        box = (left, top, min(left + side, photograph.width), min(top + side, photograph.height))
        frames.append(np.asarray(photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)))
    return frames
