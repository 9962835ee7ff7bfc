"""Videos to train on: the files of a folder."""

import os
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import BadSample, Dataset, Preview
from mae_registry import ConfigError
from mae_video.clips import CENTER, ClipSampler, checked_shape
from mae_video.crops import Probability, RatioRange, Share, center_crop, check_range, crop, multi_scale_box, random_area_box
from mae_video.modality import VIDEO
from mae_video.reading import Reader, find_reader, open_video

Positive = Annotated[int, Field(ge=1)]
MULTI_SCALE = (1.0, 0.875, 0.75, 0.66)


class VideoFolder(Dataset):
    """The video files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Args:
        root: the folder. Links to folders are followed; names that begin with a dot are left out.
        stride, fps: which frames make a clip: every `stride`-th, or with `fps` those that far apart in time at that rate;
            see `clips.ClipSampler`. The clip's place in the file is drawn.
        num_views: crops of each decoded clip, each a sample with a mask of its own.
        multi_scale: sides of the crop, as shares of the largest one (VideoMAE), or
        crop_scale, crop_ratio: range of the crop's area, and of its width / height (MAE-ST; set multi_scale to null).
        flip: probability of a horizontal flip.
        reader: what decodes; "auto": decord where it is installed, else PyAV, else torchcodec.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        stride: Positive = 4,
        fps: Annotated[float, Field(gt=0)] | None = None,
        num_views: Positive = 1,
        multi_scale: tuple[Share, ...] | None = MULTI_SCALE,
        crop_scale: tuple[Share, Share] | None = None,
        crop_ratio: RatioRange = (3 / 4, 4 / 3),
        flip: Probability = 0.0,
        reader: Reader = "auto",
    ) -> None:
        self._shape = checked_shape(sample_shape)
        if (multi_scale is None) == (crop_scale is None):
            raise ConfigError("data.video: give multi_scale, or crop_scale, and set the other to null")
        check_range("crop_ratio", crop_ratio)
        if crop_scale is not None:
            check_range("crop_scale", crop_scale)
        self.num_views = num_views
        self._sampler = ClipSampler(self._shape[1], stride, fps)
        self._multi_scale, self._crop_scale, self._crop_ratio, self._flip = multi_scale, crop_scale, crop_ratio, flip
        find_reader(reader)  # before a worker needs it
        self._reader: Reader = reader
        if not root:
            raise ConfigError("video_folder does not know where the data are: give data.video.root=DIR, a folder of videos")
        self._root = os.path.abspath(os.path.expanduser(root))
        # one array rather than a list: never copied to a worker's memory by reference counts
        self._names = np.array(_list_videos(self._root), dtype=np.bytes_)

    def __len__(self) -> int:
        return len(self._names)

    def load(self, index: int, *, random: Random) -> Tensor:
        """(C, T, H, W) uint8, or (num_views, C, T, H, W): crops of one clip. Decodes no frame outside the clip's span."""
        with open_video(self.describe(index), self._reader) as video:
            frames = self._sampler.read(video, random.random())
        views = [self._augment(frames, random) for _ in range(self.num_views)]
        return torch.stack(views) if self.num_views > 1 else views[0]

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self._root, os.fsdecode(self._names[index]))

    def previews(self, count: int) -> Sequence[Preview]:
        """Files spread evenly over the folder, all of them training ones; those that cannot be read are left out."""
        count = min(count, len(self))
        previews: list[Preview] = []
        for index in (i * len(self) // count for i in range(count)):
            try:
                with open_video(self.describe(index), self._reader) as video:
                    frames = self._sampler.read(video, CENTER)
            except BadSample:
                continue
            previews.append(Preview(os.fsdecode(self._names[index]), center_crop(frames, self._shape), "training"))
        return previews

    def _augment(self, frames: Tensor, random: Random) -> Tensor:
        height, width = frames.shape[2:]
        if self._multi_scale is not None:
            box = multi_scale_box(height, width, self._shape, self._multi_scale, random)
        else:
            assert self._crop_scale is not None
            box = random_area_box(height, width, self._shape, self._crop_scale, self._crop_ratio, random)
        # the published pipelines: Pillow's resize, which averages, in VideoMAE; plain interpolation in MAE-ST
        sample = crop(frames, box, self._shape, antialias=self._multi_scale is not None)
        return sample.flip(3) if random.random() < self._flip else sample


def _list_videos(root: str) -> list[bytes]:
    """Names of the video files below `root`, relative to it, sorted. Raises ConfigError if there are none."""
    if not os.path.isdir(root):
        raise ConfigError(
            f"data.video.root: {root} is a file; give the folder that holds the videos"
            if os.path.exists(root)
            else f"data.video.root: there is no folder {root}"
        )
    names: list[bytes] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, onerror=_cannot_list, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # reached again, through a symbolic link
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if not name.startswith(".") and suffix in VIDEO.file_suffixes:
                names.append(os.fsencode(os.path.relpath(os.path.join(folder, name), root)))
            elif not name.startswith("."):
                others[suffix] += 1
    if not names:
        most = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in others.most_common(5))
        seen_files = f"{others.total()} other files ({most})" if others else "no files at all"
        raise ConfigError(
            f"data.video.root: {root} holds {seen_files} but no videos; read are {', '.join(VIDEO.file_suffixes)}"
        )
    return sorted(names)


def _cannot_list(error: OSError) -> None:
    raise ConfigError(f"data.video.root: {error.filename} cannot be listed: {error.strerror}") from error
