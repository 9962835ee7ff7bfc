"""What a run tells as it goes: to its folder, and to whoever watches."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from mae_core.interfaces import Decided
from mae_core.runs.logs import BadSampleLog, MetricLog
from mae_core.training.interrupts import Interrupts

MIN_BAD_SAMPLES = 10
"""Unreadable samples before their share is looked at: one among the first few is no share."""


class Display(Protocol):
    """Shows a run's progress to a person; `mae_core.cli.progress.TrainingProgress` is one."""

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None:
        """`step` steps are done."""

    def message(self, text: str) -> None:
        """Something worth a line of its own."""


class MakeDisplay(Protocol):
    """Makes the display when the length of the run is known."""

    def __call__(self, num_steps: int, num_epochs: int, *, first_step: int) -> AbstractContextManager[Display]:
        """A display, to be entered."""
        ...


class Journal:
    """The metrics, the list of bad samples and the display of one session of a run, in the process that writes."""

    def __init__(
        self, folder: Path, display: AbstractContextManager[Display], interrupts: Interrupts, *, first_step: int
    ) -> None:
        """Entries of later steps than `first_step` are deleted: they will come again."""
        self._manager = display
        self._display = display.__enter__()
        self._interrupts = interrupts
        self._metrics = MetricLog(folder, self.say, from_step=first_step)
        self._bad = BadSampleLog(folder, self.say, from_step=first_step)
        self._started = self._ended = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._metrics.close()
        self._show(lambda: self._manager.__exit__(kind, error, traceback))

    def begin_step(self) -> None:
        """From here on, time counts for the next step."""
        self._started = time.monotonic()

    def end_step(self) -> None:
        """What comes now, such as a validation, does not count for the speed of the step."""
        self._ended = time.monotonic()

    def log_step(self, step: int, *, epoch: int, loss: float, rate: float, num_rows: int, others: Mapping[str, float]) -> None:
        """Step `step` (from 1) has been taken, of `num_rows` rows; `rate` is its learning rate, and `others` are logged too."""
        speed = num_rows / (self._ended - self._started)
        own = {"epoch": epoch, "loss": loss, "lr": rate, "samples_per_s": speed}
        self._metrics.log(step, **own, **{name: value for name, value in others.items() if name not in own})
        self._show(lambda: self._display.update(step=step, epoch=epoch, loss=loss, samples_per_s=speed))

    def log_bad(self, step: int, replaced: Sequence[Mapping[str, Any]], *, num_samples: int, max_share: float) -> None:
        """List what could not be read in step `step`, of `num_samples` so far. Raises Decided if it has become too much."""
        if replaced and self._bad.count == 0:
            self.say(
                f"{replaced[0]['sample']} could not be read and was replaced; all such samples are listed in {self._bad.path}"
            )
        for entry in replaced:
            self._bad.log(step, **entry)
        num_tried = num_samples + self._bad.count
        if self._bad.count > max(MIN_BAD_SAMPLES, max_share * num_tried):
            raise Decided(
                f"{self._bad.count} of the first {num_tried} samples could not be read, more than train.max_bad_share="
                f"{max_share}; they are listed in {self._bad.path}"
            )

    def sum_up(self) -> None:
        """What should be known at the end."""
        if self._bad.count:
            samples = "1 sample" if self._bad.count == 1 else f"{self._bad.count} samples"
            self.say(f"{samples} could not be read and had to be replaced; the list is {self._bad.path}")

    def say(self, text: str) -> None:
        """Something worth a line of its own, to whoever watches."""
        self._show(lambda: self._display.message(text))

    def _show(self, show: Callable[[], object]) -> None:
        """Stop the run if nobody is watching it any more."""
        try:
            show()
        except (OSError, SystemExit):  # a closed pipe or terminal; rich makes an exit of it
            self._interrupts.note(signal.SIGPIPE)


class Silence(Journal):
    """The journal of a process that writes nothing, beside one that does."""

    def __init__(self) -> None:
        self._started = self._ended = 0.0

    def __exit__(self, *_: object) -> None:
        return

    def log_step(self, step: int, **_: Any) -> None:
        """Not here."""

    def sum_up(self) -> None:
        """Not here."""

    def say(self, text: str) -> None:
        """Not here."""
