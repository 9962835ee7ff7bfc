"""Video files -> frames, by one of three decoders behind one small interface. Bit for bit the same frames from each."""

import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from mae_core.data.files import Content, File, open_content, require_content
from mae_core.interfaces import BadSample
from mae_registry import ConfigError

Reader = Literal["auto", "decord", "pyav", "torchcodec"]
MODULES = {"decord": "decord", "pyav": "av", "torchcodec": "torchcodec"}
"""Import name of each reader's package, in the order in which "auto" looks for them."""
CONTAINERS = re.compile(
    rb"....(ftyp|moov|mdat|free|skip|wide|pnot)"  # MP4, MOV
    rb"|\x1a\x45\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI[ X\x19]"
    rb"|OggS"
    rb"|\x00\x00\x01[\xb3\xba]"  # an MPEG video stream, an MPEG program stream
    rb"|\x47.{187}\x47",  # an MPEG transport stream
    re.DOTALL,
)
CONTAINER_BYTES = 189
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


@contextmanager
def open_video(file: File, reader: Reader = "auto") -> Generator[Video]:
    """Open a file. Raises BadSample, with its name and the reason on one line, whatever goes wrong with it inside the block.

    Raises ConfigError if the reader is not installed.
    """
    open_file = READERS[find_reader(reader)]
    name = require_content(file)
    try:
        _require_container(file, name)
        with open_file(file) as video:
            if video.num_frames < 1:
                raise BadSample(f"{name}: the file contains no video frames")
            yield video
    except (BadSample, ConfigError):
        raise
    except OSError as error:
        raise BadSample(f"{name}: the file cannot be read: {error.strerror or _one_line(error)}") from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise BadSample(f"{name}: the video cannot be decoded: {_one_line(error)}") from error


def _require_container(file: File, name: str) -> None:
    """Raise BadSample unless the file begins as one of the containers that are documented.

    Decoders tell files by content, whatever they are called, and know many more: a playlist would have them open other files,
    and addresses on the network.
    """
    with open_content(file) as opened:
        start = opened.read(CONTAINER_BYTES)
    if not CONTAINERS.match(start):
        raise BadSample(f"{name}: it is not a video in a container that can be read (MP4, MOV, Matroska, WebM, AVI, MPEG, Ogg)")


def find_reader(reader: Reader) -> str:
    """The reader itself; for "auto" the first one that is installed. Raises ConfigError if none is, or it is broken."""
    wanted = list(MODULES) if reader == "auto" else [reader]
    others = f"choose another data.video.reader of auto, {', '.join(MODULES)}"
    for name in wanted:
        if find_spec(MODULES[name]) is None:
            continue
        try:
            import_module(MODULES[name])
        except Exception as error:  # torchcodec without FFmpeg's libraries raises what the system's loader says
            raise ConfigError(f"reader {name!r} is installed but cannot be loaded: {_one_line(error)}; {others}") from error
        return name
    raise ConfigError(f"reader {reader!r} is not installed: pip install {MODULES[wanted[-1]]}, or {others}")


class _Decord(Video):
    def __init__(self, file: File) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        with _quiet():  # of a damaged file, its C++ prints lines that no level of logging holds back
            self._file = decord.VideoReader(_source(file), ctx=decord.cpu(0), num_threads=1)
        self.num_frames = len(self._file)
        (first, _), (_, end) = self._file.get_frame_timestamp([0, self.num_frames - 1]).astype(np.float64)
        self.fps = _mean_rate(self.num_frames, end - first, self._file.get_avg_fps())

    def frames(self, indices: Sequence[int]) -> Tensor:
        wanted, inverse = np.unique(np.asarray(indices), return_inverse=True)
        decoded = torch.from_numpy(self._file.get_batch(wanted.tolist()).asnumpy())
        return _in_order(decoded, inverse).permute(0, 3, 1, 2)

    def times(self) -> np.ndarray:
        return self._file.get_frame_timestamp(range(self.num_frames))[:, 0].astype(np.float64)


class _PyAv(Video):
    def __init__(self, container: Any) -> None:
        stream = container.streams.best("video")
        if stream is None:
            raise ValueError("it contains no video stream")
        stream.thread_count = 1
        packets = [(packet.pts, packet.is_keyframe, packet.duration) for packet in container.demux(stream) if packet.size]
        # AVI stores no times of display, only the order: its frames are counted from the start
        known = container.format.name != "avi" and all(pts is not None for pts, _, _ in packets)
        self._container, self._stream = container, stream
        self._pts = np.sort(np.array([pts for pts, _, _ in packets])) if known else None
        self._keys = np.sort(np.array([pts for pts, is_key, _ in packets if is_key])) if known else None
        self.num_frames = len(packets)
        duration = 0
        if self._pts is not None and packets:
            _, _, shown = max(packets, key=lambda packet: packet[0])
            duration = (self._pts[-1] + (shown or 0) - self._pts[0]) * float(stream.time_base)
        self.fps = _mean_rate(self.num_frames, duration, stream.average_rate or 0)

    def frames(self, indices: Sequence[int]) -> Tensor:
        wanted, inverse = np.unique(np.asarray(indices), return_inverse=True)
        decoded = self._count(wanted) if self._pts is None else self._seek(self._pts[wanted])
        return _in_order(_as_rgb(decoded, len(wanted)), inverse).permute(0, 3, 1, 2)

    def times(self) -> np.ndarray | None:
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
        assert self._keys is not None
        keys = self._keys[(np.searchsorted(self._keys, wanted, side="right") - 1).clip(0)]
        for key in np.unique(keys):
            yield from self._from_key(int(key), deque(wanted[keys == key].tolist()))

    def _from_key(self, key: int, wanted: deque[int]) -> Iterator[Any]:
        """Frames by their times, ascending, from a key frame on. What no other frame needs is decoded if it is wanted alone."""
        self._container.seek(key, stream=self._stream)
        needed = frozenset(wanted)
        for packet in self._container.demux(self._stream):
            self._stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            for frame in packet.decode():
                if frame.pts > wanted[0]:
                    return
                if frame.pts == wanted[0]:
                    yield frame
                    wanted.popleft()
                if not wanted:
                    return


class _TorchCodec(Video):
    def __init__(self, file: File) -> None:
        with open_content(file) as opened:
            if opened.read(12)[8:] == b"AVI ":
                raise ValueError("torchcodec returns the frames of AVI files in the wrong order; use another reader")
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

        source = file.data if isinstance(file, Content) else os.fspath(file)
        self._file = VideoDecoder(source, num_ffmpeg_threads=1, seek_mode="exact")
        self.num_frames = len(self._file)
        self.fps = float(self._file.metadata.average_fps)

    def frames(self, indices: Sequence[int]) -> Tensor:
        return self._file.get_frames_at(list(indices)).data

    def frames_at(self, seconds: Sequence[float]) -> Tensor:
        begin, end = self._file.metadata.begin_stream_seconds, self._file.metadata.end_stream_seconds
        times = np.asarray(seconds) + TIME_TOLERANCE + begin
        return self._file.get_frames_played_at(times.clip(begin, end - TIME_TOLERANCE).tolist()).data


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


@contextmanager
def _quiet() -> Generator[None]:
    """Whatever the process prints to standard error meanwhile is lost."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _open_decord(file: File) -> Generator[Video]:
    yield _Decord(file)


@contextmanager
def _open_pyav(file: File) -> Generator[Video]:
    import av

    with av.open(_source(file)) as container:
        yield _PyAv(container)


@contextmanager
def _open_torchcodec(file: File) -> Generator[Video]:
    yield _TorchCodec(file)


READERS: dict[str, Callable[[File], AbstractContextManager[Video]]] = {
    "decord": _open_decord,
    "pyav": _open_pyav,
    "torchcodec": _open_torchcodec,
}


def _source(file: File) -> str | BinaryIO:
    """What decoders open: a path, or bytes as a file."""
    return open_content(file) if isinstance(file, Content) else os.fspath(file)


def _mean_rate(num_frames: int, seconds: float, stated: float) -> float:
    """Frames a second, from the frames' own times where the file holds any (AVI: none, or nonsense); else as it states."""
    return num_frames / seconds if 0 < seconds < MAX_SECONDS else float(stated)


def _in_order(frames: Tensor, inverse: np.ndarray) -> Tensor:
    return frames if len(frames) == len(inverse) and bool((np.diff(inverse) > 0).all()) else frames[torch.from_numpy(inverse)]


def _one_line(error: Exception) -> str:
    """The reason without the decoder's own time, source file, and stack."""
    text = str(error).split("Stack trace")[0] or type(error).__name__
    return " ".join(re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ", "", text).split())[:300]
