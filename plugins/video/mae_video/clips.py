"""Which frames of a video make a clip."""

import os
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mae_core.interfaces import Tokenizer
from mae_registry import ConfigError
from mae_video.crops import center_crop
from mae_video.reading import Video, open_video

CENTER = 0.5
DEFAULT_STRIDE = 4


@dataclass(frozen=True)
class ClipSampler:
    """`num_frames` frames of a video, `stride` apart.

    With `fps` the stride counts frames of so many a second, whatever the file's own rate, and goes by time: files of a variable
    rate are sampled evenly. The clip then spans num_frames * stride such frames, the first and the last of them included, as
    MAE-ST takes it. Where the file is too short, its last frame is repeated.
    """

    num_frames: int
    stride: int
    fps: float | None = None

    def read(self, video: Video, start: float) -> Tensor:
        """(T, 3, H, W) uint8. `start`, from 0 to 1: where the clip begins, as a share of where it could."""
        if self.fps is None:
            num_starts = max(1, video.num_frames - self.num_frames * self.stride + 1)
            first = min(num_starts - 1, int(start * num_starts))
            indices = first + self.stride * np.arange(self.num_frames)
            return video.frames(indices.clip(0, video.num_frames - 1).tolist())
        # in frames of the file's mean rate
        span = self.num_frames * self.stride / self.fps * video.fps
        first = start * max(0.0, video.num_frames - span)
        positions = np.linspace(first, first + max(0.0, span - 1), self.num_frames).clip(0, video.num_frames - 1)
        return video.frames_at((positions / video.fps).tolist())


def read_clip(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Tensor:
    """The middle of a file as (C, T, H, W) uint8 of `tokenizer.sample_shape`, un-augmented: its central crop.

    Frames are 4 apart as in the published recipes; closer where the file is too short for that. Raises BadSample.
    """
    shape = checked_shape(tokenizer.sample_shape)
    with open_video(path) as video:
        stride = max(1, min(DEFAULT_STRIDE, video.num_frames // shape[1]))
        frames = ClipSampler(shape[1], stride).read(video, CENTER)
    return center_crop(frames, shape)


def checked_shape(sample_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The shape (3, T, H, W). Raises ConfigError for other than 3 channels."""
    channels, num_frames, height, width = sample_shape
    if channels != 3:
        raise ConfigError(
            f"the tokenizer takes {channels} channels; videos give 3 (RGB): set model.modalities.video.tokenizer.channels=3"
        )
    return channels, num_frames, height, width
