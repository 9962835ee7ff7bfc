"""What a reader of videos gives: the frames of one file, by number or by time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TIME_TOLERANCE = 6e-4
"""Seconds: containers round a frame's time, Matroska to a millisecond."""

MAX_SECONDS = 1e6
"""Longer than any video: decord gives 1e17 where a file holds no times."""


class Video(ABC):
    """An opened file. Frames are numbered in the order in which they are shown."""

    num_frames: int
    fps: float
    """Frames a second, the mean over the file."""

    @abstractmethod
    def frames(self, indices: Sequence[int]) -> Tensor:
        """(T, 3, H, W) uint8 RGB, of frames that may repeat. Decodes no more than it must to reach them."""

    def frames_at(self, seconds: Sequence[float]) -> Tensor:
        """The frames that are shown at these times, counted from the first frame's: (T, 3, H, W) uint8."""
        times = self.times()
        if times is None or len(times) != self.num_frames or not bool((np.diff(times) > 0).all()):
            times = np.arange(self.num_frames) / self.fps  # no usable times in the file (AVI): a constant rate
        shown = np.searchsorted(times - times[0], np.asarray(seconds) + TIME_TOLERANCE, side="right") - 1
        return self.frames(shown.clip(0).tolist())

    def times(self) -> np.ndarray | None:
        """(num_frames,) seconds at which each frame is first shown; None if the file does not say."""
        return None


def mean_rate(num_frames: int, seconds: float, stated: float) -> float:
    """Frames a second, from the frames' own times where the file holds any (AVI: none, or nonsense); else as it states."""
    return num_frames / seconds if 0 < seconds < MAX_SECONDS else float(stated)


def in_order(frames: Tensor, inverse: np.ndarray) -> Tensor:
    """Frames that were read once each and ascending, as they were asked for: `inverse` is that of `np.unique`."""
    return frames if len(frames) == len(inverse) and bool((np.diff(inverse) > 0).all()) else frames[torch.from_numpy(inverse)]
