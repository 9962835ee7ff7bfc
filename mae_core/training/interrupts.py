"""Stopping a run: by Ctrl-C, by a scheduler, or because nobody watches it any more."""

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
        if number in (signal.SIGINT, signal.SIGTERM):  # the others may come twice, such as from the terminal and the shell
            signal.signal(number, heeded[signal.Signals(number)])

    for number in heeded:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
