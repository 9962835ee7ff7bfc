"""No process of a run waits forever for another one: each says when it fails, and is looked at while it lives."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self

from torch.distributed import DistError, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage] - public all the same

from mae_core.training.launch import FAILURE, notes_of
from mae_registry import MaeError, cause_of

BEAT = 2.0
"""Seconds between two signs of life."""
SILENCE = 25.0
"""Seconds without one, after which a process is taken for dead."""
NEWS = 5.0
"""Seconds to wait for the news of what went wrong elsewhere."""
PARTING = 10.0
"""Seconds that a process has to end in order, once another one has failed."""
LEFT = "left"


class Watch:
    """What one of several processes knows of the others. Each watches the next one, in a thread of its own."""

    def __init__(self, store: Store, *, rank: int, size: int) -> None:
        self._store, self._rank, self._size = store, rank, size
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")
        self._thread.start()

    @classmethod
    def join(cls, *, rank: int, size: int) -> Self:
        """Through the store at which the processes have met."""
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        client = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=SILENCE))
        return cls(notes_of(client), rank=rank, size=size)

    @contextmanager
    def telling(self) -> Generator[None]:
        """An error in here is raised in one process only, the first that has one; the others end in silence."""
        try:
            yield
        except Exception as error:
            if not self._is_mine(error):
                raise SystemExit(1) from error
            raise
        finally:
            self._leave()

    def _is_mine(self, error: Exception) -> bool:
        """Whether it is for this process to say what ended the run."""
        if not isinstance(error, MaeError) and _is_of_connection(error):
            self._wait_for_news()
            lost = "another process of the run has ended without a word"
            if self._tell(lost):
                raise MaeError(f"{lost}; go on from the last checkpoint with --resume") from error
            return False
        return self._tell(str(error) if isinstance(error, MaeError) else cause_of(error))

    def _wait_for_news(self) -> None:
        """Whoever is at fault says more than that a connection was lost."""
        deadline = time.monotonic() + NEWS
        with contextlib.suppress(RuntimeError):  # the store may have ended, too
            while time.monotonic() < deadline and not self._store.check([FAILURE]):
                time.sleep(0.1)

    def _tell(self, text: str) -> bool:
        """Whether this is the first process that has anything to tell."""
        own = f"{self._rank}: {text}"
        try:
            return self._store.compare_set(FAILURE, "", own).decode() == own
        except RuntimeError:  # the store has ended with the process that kept it
            return True

    def _leave(self) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(RuntimeError):
            self._store.set(_sign_of(self._rank), LEFT)

    def _watch(self) -> None:
        """End this process if another one has failed, and nothing else ends it."""
        beat, seen, since = 0, "", time.monotonic()
        neighbour = (self._rank + 1) % self._size
        while not self._ended.wait(BEAT):
            beat += 1
            try:
                self._store.set(_sign_of(self._rank), str(beat))
                sign = self._store.get(_sign_of(neighbour)).decode() if self._store.check([_sign_of(neighbour)]) else ""
                has_failed = self._store.check([FAILURE])
            except RuntimeError:
                return self._part("the process that started the others has ended")
            if has_failed:
                return self._part()
            if sign != seen:
                seen, since = sign, time.monotonic()
            if sign != LEFT and time.monotonic() - since > SILENCE:
                return self._part(f"process {neighbour} of the run does not answer any more")

    def _part(self, news: str = "") -> None:
        """Give the main thread time to end in order; then end without it, since it waits for what will not come."""
        if news and self._tell(news):
            print(f"error: {news}; go on from the last checkpoint with --resume", file=sys.stderr)
        if not self._ended.wait(PARTING):
            os._exit(1)


def _sign_of(rank: int) -> str:
    return f"sign-of-life/{rank}"


def _is_of_connection(error: Exception) -> bool:
    """Whether a process has learned by it that another one is gone. Gloo's errors are plain ones."""
    signs = ("connection", "gloo", "broken pipe", "socket", "nccl", "timed out")
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)
    )
