"""Stopping a run: by Ctrl-C, or by a scheduler's SIGTERM."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mae_registry import MaeError


class Interrupted(MaeError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved a checkpoint."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """While inside, the first SIGINT or SIGTERM is noted and the step is finished; a second one is not waited for."""
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
