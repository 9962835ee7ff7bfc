"""Video files -> frames, by one of three decoders behind one small interface."""

import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from mae_core.data.files import Content, File, open_content, require_content
from mae_core.interfaces import BadSample
from mae_registry import ConfigError
from mae_video.frames import TIME_TOLERANCE, Video, in_order, mean_rate
from mae_video.pyav_reader import PyAvVideo

Reader = Literal["auto", "pyav", "decord", "torchcodec", "torchcodec_gpu"]
GPU_READER = "torchcodec_gpu"
"""torchcodec, with a GPU that decodes."""
MODULES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}
"""Import name of each reader's package, in the order in which "auto" looks for them: the fastest first."""
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
        module = MODULES.get(name, "torchcodec")
        if find_spec(module) is None:
            continue
        try:
            import_module(module)
        except Exception as error:  # torchcodec without FFmpeg's libraries raises what the system's loader says
            raise ConfigError(f"reader {name!r} is installed but cannot be loaded: {_one_line(error)}; {others}") from error
        if name == GPU_READER and not torch.cuda.is_available():
            raise ConfigError(f"reader {name!r} needs a GPU, and there is none that torch can use; {others}")
        return name
    raise ConfigError(f"reader {reader!r} is not installed: pip install {MODULES.get(wanted[0], 'torchcodec')}, or {others}")


class _Decord(Video):
    def __init__(self, file: File) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        with _quiet():  # of a damaged file, its C++ prints lines that no level of logging holds back
            self._file = decord.VideoReader(_source(file), ctx=decord.cpu(0), num_threads=1)
        self.num_frames = len(self._file)
        (first, _), (_, end) = self._file.get_frame_timestamp([0, self.num_frames - 1]).astype(np.float64)
        self.fps = mean_rate(self.num_frames, end - first, self._file.get_avg_fps())

    def frames(self, indices: Sequence[int]) -> Tensor:
        wanted, inverse = np.unique(np.asarray(indices), return_inverse=True)
        decoded = torch.from_numpy(self._file.get_batch(wanted.tolist()).asnumpy())
        return in_order(decoded, inverse).permute(0, 3, 1, 2)

    def times(self) -> np.ndarray:
        return self._file.get_frame_timestamp(range(self.num_frames))[:, 0].astype(np.float64)


class _TorchCodec(Video):
    def __init__(self, file: File, *, device: str = "cpu") -> None:
        with open_content(file) as opened:
            if opened.read(12)[8:] == b"AVI ":
                raise ValueError("torchcodec returns the frames of AVI files in the wrong order; use another reader")
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

        source = file.data if isinstance(file, Content) else os.fspath(file)
        self._file = VideoDecoder(source, num_ffmpeg_threads=1, seek_mode="exact", device=device)
        self.num_frames = len(self._file)
        self.fps = float(self._file.metadata.average_fps)

    def frames(self, indices: Sequence[int]) -> Tensor:
        return self._file.get_frames_at(list(indices)).data.cpu()

    def frames_at(self, seconds: Sequence[float]) -> Tensor:
        begin, end = self._file.metadata.begin_stream_seconds, self._file.metadata.end_stream_seconds
        times = np.asarray(seconds) + TIME_TOLERANCE + begin
        return self._file.get_frames_played_at(times.clip(begin, end - TIME_TOLERANCE).tolist()).data.cpu()


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
        yield PyAvVideo(container)


@contextmanager
def _open_torchcodec(file: File) -> Generator[Video]:
    yield _TorchCodec(file)


@contextmanager
def _open_torchcodec_gpu(file: File) -> Generator[Video]:
    if get_worker_info() is not None:
        raise ConfigError(
            f"data.video.reader={GPU_READER} decodes in the process that trains, since the processes that load data cannot use "
            "a GPU; set train.num_workers=0"
        )
    yield _TorchCodec(file, device="cuda")


READERS: dict[str, Callable[[File], AbstractContextManager[Video]]] = {
    "pyav": _open_pyav,
    "decord": _open_decord,
    "torchcodec": _open_torchcodec,
    GPU_READER: _open_torchcodec_gpu,
}


def _source(file: File) -> str | BinaryIO:
    """What decoders open: a path, or bytes as a file."""
    return open_content(file) if isinstance(file, Content) else os.fspath(file)


def _one_line(error: Exception) -> str:
    """The reason without the decoder's own time, source file, and stack."""
    text = str(error).split("Stack trace")[0] or type(error).__name__
    return " ".join(re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ", "", text).split())[:300]
