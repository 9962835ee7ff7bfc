"""Files of any store -> shards."""

import csv
import io
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mae_core.data.files import File, name_of, read_content
from mae_core.data.shard_index import Manifest
from mae_core.data.shard_writer import SKIPPED, Output, ShardWriter
from mae_core.data.stores import Store
from mae_core.interfaces import BadSample, Labels
from mae_registry import MaeError

Encode = Callable[[File], tuple[bytes, str]]
"""Another form of a file: its bytes, and the suffix of its name. Raises BadSample."""
AHEAD = 4
"""Files that each worker is given before the first of them is asked for."""
BEGINNINGS = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"fLaC", ".flac"),
    (b"OggS", ".ogg"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\x1a\x45\xdf\xa3", ".mkv"),
    (b"\x93NUMPY", ".npy"),
)
"""How files begin that have no name, as in Parquet files."""


@dataclass(frozen=True)
class Made:
    """What came of it."""

    manifest: Manifest
    skipped: Sequence[tuple[str, str]]
    """Files that could not be read, and why."""


@dataclass(frozen=True)
class _Read:
    """One file, read; or the reason why it could not be."""

    data: bytes = b""
    suffix: str = ""
    extras: Mapping[str, bytes] | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Job:
    """What a process needs to read any of the files."""

    store: Store
    extras: Sequence[str]
    encode: Encode | None

    def read(self, index: int) -> _Read:
        try:
            file = self.store.file(index)
            data, suffix = self.encode(file) if self.encode else _as_it_is(file)
            extras = {name: _npy(self.store.extra(index, name)) for name in self.extras}
        except BadSample as error:
            return _Read(problem=str(error))
        return _Read(data, suffix, extras)


def make_shards(
    store: Store,
    output: Output,
    *,
    labels: Labels | None,
    extras: Sequence[str] = (),
    encode: Encode | None = None,
    shard_bytes: int,
    num_workers: int = 0,
    overwrite: bool = False,
    notes: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Made:
    """Write the files of a store as shards, in its order. Those that cannot be read are skipped, and listed in skipped.csv.

    Args:
        labels: of all files.
        extras: names of the arrays that are stored with each.
        encode: stores another form of each file; None: its bytes as they are.
        shard_bytes: about how large a shard is.
        num_workers: processes that read and encode; 0: this one.
        overwrite: delete the shards that are there.
        notes: what people should know of the shards.
        progress: called with the number of files that are done, and of all.

    Raises MaeError where nothing can be written, where there are other files, or where no file can be read. Whatever stops it,
    the killing of the process included, nothing is left that looks complete.
    """
    output.clear(overwrite=overwrite)
    writer = ShardWriter(output, shard_bytes=shard_bytes, labels=labels, extras=extras)
    skipped: list[tuple[str, str]] = []
    job = _Job(store, extras, encode)
    try:
        for index, read in enumerate(_read_all(job, num_workers)):
            if read.problem:
                skipped.append((store.describe(index), read.problem))
            else:
                writer.add(index, store.names[index], read.suffix, read.data, read.extras or {})
            progress(index + 1, len(store))
        if len(skipped) == len(store):
            raise MaeError(f"none of the {len(store):,} files can be read; the first one: {skipped[0][1]}")
        if skipped:
            output.write(SKIPPED, _table(skipped))
        return Made(writer.finish({**(notes or {}), "skipped": len(skipped)}), skipped)
    except OSError as error:
        raise MaeError(f"{output.root} cannot be written to: {error.strerror or error}") from error
    finally:
        writer.discard()


def _read_all(job: _Job, num_workers: int) -> Iterator[_Read]:
    """All files in order. At no time are there more than a few in memory."""
    if num_workers == 0:
        yield from map(job.read, range(len(job.store)))
        return
    with ProcessPoolExecutor(num_workers, initializer=_begin, initargs=(job,)) as workers:
        waiting: deque[Future[_Read]] = deque()
        try:
            for index in range(len(job.store)):
                waiting.append(workers.submit(_work, index))
                if len(waiting) >= AHEAD * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise MaeError(
                "a process that reads files has ended: the machine ran out of memory, or a decoder crashed on a file. With "
                "--workers 0 the files are read in the main process, which shows where"
            ) from error
        finally:
            workers.shutdown(cancel_futures=True)


_job: _Job | None = None


def _begin(job: _Job) -> None:
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, killed perhaps: nobody would tell it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(index: int) -> _Read:
    assert _job is not None
    return _job.read(index)


def _as_it_is(file: File) -> tuple[bytes, str]:
    data = read_content(file)
    suffix = os.path.splitext(name_of(file))[1]
    if not suffix or ":" in suffix:
        suffix = next((known for start, known in BEGINNINGS if data.startswith(start)), ".bin")
    return data, suffix


def _npy(array: Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, array.numpy())
    return file.getvalue()


def _table(skipped: Sequence[tuple[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "reason"), *skipped])
    return text.getvalue().encode("utf-8", errors="surrogateescape")
