"""Stopping a run: by Ctrl-C, by a scheduler, or because nobody watches it any more."""

import multiprocessing
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager

from mae_registry import MaeError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupted(MaeError):
    """The run was asked to stop, and has saved a checkpoint."""

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        """What asked it: SIGINT is Ctrl-C, SIGTERM or SIGUSR1 a scheduler, SIGHUP a closed terminal, SIGPIPE a closed pipe."""


class Interrupts:
    """What has asked the run to stop."""

    def __init__(self) -> None:
        self.received = 0
        """The first signal; 0: none yet."""

    def note(self, number: int) -> None:
        """The run is to stop, for this reason, after the step that it is in."""
        self.received = self.received or number


def _wake_workers() -> None:
    """The step that is to be finished would wait for ever for a worker that somebody has stopped."""
    for worker in multiprocessing.active_children():
        if worker.pid is not None:
            os.kill(worker.pid, signal.SIGCONT)


@contextmanager
def interrupts() -> Generator[Interrupts]:
    """While inside, the first signal is noted, and the step is finished; a second SIGINT or SIGTERM is not waited for.

    A signal that the process was started to ignore, as `nohup` does with SIGHUP, is still ignored.
    """
    noted = Interrupts()
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = {number: handler for number, handler in previous.items() if handler is not signal.SIG_IGN}

    def note(number: int, frame: object) -> None:
        noted.note(number)
        _wake_workers()
        if number in (signal.SIGINT, signal.SIGTERM):  # the others may come twice, such as from the terminal and the shell
            signal.signal(number, heeded[signal.Signals(number)])

    for number in heeded:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
