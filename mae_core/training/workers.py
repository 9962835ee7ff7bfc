"""Worker processes that load data: what each of them reads, and how loading goes on where one of them dies."""

import multiprocessing.connection
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter  # pyright: ignore[reportPrivateUsage] - its workers

from mae_core.interfaces import BadSample
from mae_core.training.interrupts import SIGNALS
from mae_registry import MaeError

GRACE = 3.0
"""Seconds that workers have to end by themselves."""
SECONDS_BETWEEN_LOOKS = 0.5
"""How long to wait for a batch before looking whether a worker has died."""
MAX_DEATHS_BETWEEN_SAMPLES = 3
"""Workers that may die while they read no sample, for which no sample can be blamed."""

T = TypeVar("T")
Joined = TypeVar("Joined")
Number = tuple[str, int]
"""A sample: its source, and its index there."""


class Crashes:
    """Which sample each worker is reading, and the samples at which one has died. All workers and the main process share it."""

    def __init__(self, describe: Mapping[str, Callable[[int], str]]) -> None:
        """`describe`: what a person would call the samples of each source."""
        self._describe = dict(describe)
        self._reading = torch.empty(0, 2, dtype=torch.int64)
        self._killed: set[Number] = set()
        self._unreadable: dict[Number, str] = {}

    def watch(self, num_workers: int) -> None:
        """Get ready for as many new workers."""
        self._reading = torch.full((num_workers, 2), -1).share_memory_()

    @contextmanager
    def reading(self, source: str, index: int) -> Generator[None]:
        """What a sample is read in. Raises BadSample for one that is not tried again."""
        if reason := self._unreadable.get((source, index)):
            raise BadSample(reason)
        worker = get_worker_info()
        if worker is None:
            yield
            return
        row = self._reading[worker.id]
        row[1] = index
        row[0] = list(self._describe).index(source)  # last: from here on, the row counts
        try:
            yield
        finally:
            row[0] = -1

    def note(self, worker: int, exit_code: int) -> bool:
        """Worker number `worker` has died. Returns whether it was reading a sample.

        That sample is not tried again. SIGKILL however comes from others, such as the kernel when memory is short, so that a
        sample is blamed for it only when it happens twice.
        """
        source, index = self._reading[worker].tolist()
        if source < 0:
            return False
        number = (list(self._describe)[source], index)
        name = self._describe[number[0]](index)
        if exit_code == -signal.SIGKILL and number not in self._killed:
            self._killed.add(number)
            warnings.warn(f"the worker that read {name} was killed; another one reads it once more", stacklevel=2)
        else:
            self._unreadable[number] = f"{name}: the worker that read it ended {describe_exit(exit_code)}"
        return True


def describe_exit(exit_code: int) -> str:
    """How a process ended, as the end of a sentence."""
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    return f"by signal {-exit_code} ({signal.Signals(-exit_code).name})"


class Watched(TorchDataset[T]):
    """A dataset that reads its samples inside `crashes.reading`."""

    crashes: Crashes


class Unloaded(Generic[T]):
    """Batches in order; iterated again, it starts with the first that was not said to be done."""

    def __init__(self, batches: Iterable[T]) -> None:
        self._new = iter(batches)
        self._begun: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        yield from list(self._begun)
        for batch in self._new:
            self._begun.append(batch)
            yield batch

    def done(self) -> None:
        """The first of the batches is not needed again."""
        self._begun.popleft()


class Batches(Iterator[Joined]):
    """What a loader loads. Where a worker dies, all are started anew at the first batch that has not been given out."""

    def __init__(self, loader: DataLoader[Joined], crashes: Crashes, unloaded: Unloaded[Any]) -> None:
        self._loader, self._crashes, self._unloaded = loader, crashes, unloaded
        self._deaths_between_samples = 0
        self._start()

    def __next__(self) -> Joined:
        """The next batch. Raises MaeError where workers die for which no sample can be blamed."""
        while True:
            try:
                batch = next(self._batches)
            except StopIteration:
                raise
            except Exception as error:  # a dead worker shows itself by various ones
                if not _is_timeout(error):
                    self._go_on(error)
                continue
            self._unloaded.done()
            return batch

    def close(self, *, grace: float) -> None:
        """End the workers, and kill those that have not ended after `grace` seconds, e.g. in a decoder that hangs."""
        timer = threading.Timer(grace, lambda: [worker.kill() for worker in self._workers])
        timer.start()
        if isinstance(self._batches, _MultiProcessingDataLoaderIter):
            # torch would do it when it collects garbage, which may be never
            self._batches._shutdown_workers()  # pyright: ignore[reportPrivateUsage]
        timer.cancel()
        for worker in self._workers:
            worker.kill()
            worker.join()

    def _start(self) -> None:
        self._crashes.watch(self._loader.num_workers)
        self._batches = iter(self._loader)
        self._workers: Sequence[Any] = getattr(self._batches, "_workers", ())

    def _go_on(self, error: Exception) -> None:
        """Start again without the workers that have died. Raises `error` where none has."""
        ended = multiprocessing.connection.wait([worker.sentinel for worker in self._workers], timeout=1)  # one may be dying
        if not ended:
            raise error
        for number, worker in enumerate(self._workers):
            if worker.sentinel in ended:
                worker.join()
                if not self._crashes.note(number, worker.exitcode):
                    self._count_death(worker.exitcode)
        self.close(grace=0)
        self._start()

    def _count_death(self, exit_code: int) -> None:
        self._deaths_between_samples += 1
        told = f"a process that loads data ended {describe_exit(exit_code)} while it read no sample"
        if self._deaths_between_samples > MAX_DEATHS_BETWEEN_SAMPLES:
            raise MaeError(
                f"{told}, as {MAX_DEATHS_BETWEEN_SAMPLES} had before: the machine probably runs out of memory, or of shared "
                "memory (/dev/shm). Use fewer workers; with train.num_workers=0, data is loaded in the main process"
            ) from None
        warnings.warn(f"{told}; another one has taken its place", stacklevel=2)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader timed out")


def prepare_worker(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of the group; the main one decides, and workers end with it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # torch's handler prints a line of its own
    torch.set_num_threads(1)
