"""The progress of a training run: a moving line on a terminal, and plain lines from time to time elsewhere."""

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
LOSS_DECAY = 0.95
SECONDS_BEFORE_ESTIMATE = 10.0
"""For how long the speed is measured before it is said how long the whole run will take."""
SHORT_RUN = 120.0
"""Seconds of a run of which that is not worth a line."""


class TrainingProgress:
    """Context manager that shows epoch, step, loss (smoothed), samples per second, time elapsed and time left.

    On a terminal everything stays on one line, in 80 columns too. In a log a plain line is printed every 10 seconds at most,
    and the last state at the end. Both times are this session's: the earlier steps of a resumed run say nothing of its speed.
    """

    def __init__(self, num_steps: int, num_epochs: int, *, first_step: int = 0, console: Console | None = None) -> None:
        """A run of `num_steps` optimizer steps, `first_step` of which are done. `console` is standard error by default."""
        self._num_steps = num_steps
        self._num_epochs = num_epochs
        self._first_step = first_step
        self._console = console or Console(stderr=True)
        self._loss_sum = self._loss_weight = 0.0
        self._first_update: tuple[int, float] | None = None
        self._is_estimated = False
        self._unprinted = ""
        self._bar = Progress(
            _text("before"),
            BarColumn(bar_width=None),
            _text("behind"),
            _ElapsedColumn(table_column=Column(no_wrap=True)),
            _text("left"),
            console=self._console,
            expand=True,
            refresh_per_second=4,
            disable=not self._console.is_interactive,
        )

    def __enter__(self) -> Self:
        self._started = self._next_line = time.monotonic()
        steps = f"{self._first_step}/{self._num_steps}"
        self._task = self._bar.add_task(
            "", total=self._num_steps, completed=self._first_step, before="starting", behind=steps, left=""
        )
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bar.stop()
        if self._bar.disable and self._unprinted:
            self.message(self._unprinted)

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None:
        """Show that `step` steps are done, the last of them in `epoch` (the first is 1), with its loss and speed."""
        now = time.monotonic()
        self._loss_sum = LOSS_DECAY * self._loss_sum + (1 - LOSS_DECAY) * loss
        self._loss_weight = LOSS_DECAY * self._loss_weight + (1 - LOSS_DECAY)
        epochs = f"epoch {epoch}/{self._num_epochs}"
        steps = f"{step}/{self._num_steps}"
        smoothed = f"loss {self._loss_sum / self._loss_weight:.4f}"
        speed = f"{_short(samples_per_s)} samples/s"
        left = f"{self._left(step, now)} left"
        self._say_once_how_long(step, now)
        self._bar.update(self._task, completed=step, before=epochs, behind=f"{steps} {smoothed} {speed}", left=left)
        if self._bar.disable:
            elapsed = f"{duration(now - self._started)} elapsed"
            self._unprinted = ", ".join([epochs, f"step {steps}", smoothed, speed, elapsed, left])
            if now >= self._next_line:
                self.message(self._unprinted)
                self._unprinted = ""
                self._next_line = now + SECONDS_BETWEEN_LINES

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _left(self, step: int, now: float) -> str:
        """Time left, counted from the first update on, since the first step of a session also pays for warming up."""
        first_step, first_time = self._first_update = self._first_update or (step, now)
        if step == self._num_steps:
            return duration(0)
        if step == first_step:
            return "?"
        return duration((now - first_time) / (step - first_step) * (self._num_steps - step))

    def _say_once_how_long(self, step: int, now: float) -> None:
        if self._is_estimated or self._first_update is None:
            return
        first_step, first_time = self._first_update
        if step > first_step and now - first_time >= SECONDS_BEFORE_ESTIMATE:
            self._is_estimated = True
            seconds = now - self._started + (now - first_time) / (step - first_step) * (self._num_steps - step)
            if seconds >= SHORT_RUN:
                self.message(f"this takes about {in_words(seconds)} in all")


class _ElapsedColumn(ProgressColumn):
    """Moves on between two steps too, so that a slow one is not taken for a dead one."""

    def render(self, task: Task) -> Text:
        return Text(f"{duration(task.elapsed or 0)},")


def _text(field: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=Column(no_wrap=True))


def duration(seconds: float) -> str:
    """At most six characters below 100 days: 0:09, 59:59, 23h59m, 99d23h."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}:{seconds:02}"


def in_words(seconds: float) -> str:
    """From two minutes on, rounded to minutes, hours or days: "12 minutes"."""
    for unit, size, limit in (("minutes", 60, 90 * 60), ("hours", 3600, 48 * 3600), ("days", 24 * 3600, math.inf)):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    raise AssertionError(seconds)


def _short(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
