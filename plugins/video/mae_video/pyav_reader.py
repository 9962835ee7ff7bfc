"""Video files -> frames, by PyAV (FFmpeg)."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_video.frames import Video, in_order, mean_rate


class PyAvVideo(Video):
    """A file that PyAV has opened. Its frames are those of decoding it from start to end, bit for bit."""

    def __init__(self, container: Any) -> None:
        stream = container.streams.best("video")
        if stream is None:
            raise ValueError("it contains no video stream")
        stream.thread_count = 1
        stream.codec_context.open()  # before any frame may be skipped: dav1d would skip such frames from then on
        packets = [(p.pts, p.dts, p.is_keyframe, p.duration) for p in container.demux(stream) if p.size]
        # AVI stores no times of display, only the order: its frames are counted from the start
        known = container.format.name != "avi" and all(pts is not None for pts, *_ in packets)
        self._container, self._stream = container, stream
        self._pts = np.sort(np.array([pts for pts, *_ in packets])) if known else None
        self._keys = {pts: dts for pts, dts, is_key, _ in packets if is_key} if known else {}
        self.num_frames = len(packets)
        duration = 0
        if self._pts is not None and packets:
            *_, shown = max(packets, key=lambda packet: packet[0])
            duration = (self._pts[-1] + (shown or 0) - self._pts[0]) * float(stream.time_base)
        self.fps = mean_rate(self.num_frames, duration, stream.average_rate or 0)

    def frames(self, indices: Sequence[int]) -> Tensor:
        """See `Video.frames`."""
        wanted, inverse = np.unique(np.asarray(indices), return_inverse=True)
        decoded = self._count(wanted) if self._pts is None else self._seek(self._pts[wanted])
        return in_order(_as_rgb(decoded, len(wanted)), inverse).permute(0, 3, 1, 2)

    def times(self) -> np.ndarray | None:
        """See `Video.times`."""
        return None if self._pts is None else self._pts * float(self._stream.time_base)

    def _count(self, wanted: np.ndarray) -> Iterator[Any]:
        self._container.seek(0)
        for number, frame in enumerate(self._container.decode(self._stream)):
            if number in wanted:
                yield frame
            if number == wanted[-1]:
                return

    def _seek(self, wanted: np.ndarray) -> Iterator[Any]:
        """Frames by their times, ascending; those that follow one key frame after those that follow another."""
        known = np.sort(np.array(list(self._keys)))
        keys = known[(np.searchsorted(known, wanted, side="right") - 1).clip(0)]
        for key in np.unique(keys):
            yield from self._from_key(int(key), deque(wanted[keys == key].tolist()))

    def _from_key(self, key: int, wanted: deque[int]) -> Iterator[Any]:
        """Frames by their times, ascending, from a key frame on. What no other frame needs is decoded if it is wanted alone."""
        needed = frozenset(wanted)
        for packet in self._packets(key):
            self._stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            for frame in packet.decode():
                if frame.pts > wanted[0]:
                    return
                if frame.pts == wanted[0]:
                    yield frame
                    wanted.popleft()
                if not wanted:
                    return

    def _packets(self, key: int) -> Iterator[Any]:
        """What the file holds from a key frame on; all that it holds, where its container does not find that frame."""
        for time in (key, self._keys[key]):  # most containers look for the time of display, and MPEG's own for that of decoding
            if time is not None:
                self._container.seek(time, stream=self._stream)
                packets = self._container.demux(self._stream)
                first = next(packets)
                if first.pts == key and first.is_keyframe:
                    return chain([first], packets)
        self._container.seek(0)
        return self._container.demux(self._stream)


def _as_rgb(frames: Iterator[Any], number: int) -> Tensor:
    """So many frames of PyAV -> (T, H, W, 3). Raises ValueError where there are fewer."""
    from av.video.reformatter import VideoReformatter

    reformatter, pixels, found = VideoReformatter(), torch.empty(0), 0
    for frame in frames:
        array = torch.from_numpy(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray())
        if not found:
            pixels = array.new_empty(number, *array.shape)
        pixels[found] = array
        found += 1
    if found < number:
        raise ValueError(f"{number - found} of {number} frames are missing")
    return pixels
