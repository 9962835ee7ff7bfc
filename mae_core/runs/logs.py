"""What a run writes down as it goes: numbers at every step, and the samples that it could not read.

Both are JSON lines files that are cut back to the checkpoint's step when a run resumes, as if it had never been interrupted.
What cannot be written, on a full disk for example, is told once and left out: a run that can still save its weights continues.
"""

import importlib
import io
import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from mae_core.files import write_atomically
from mae_core.runs.metrics import Metrics
from mae_registry import MaeError

Tell = Callable[[str], object]
"""Shows a message to whoever watches the run."""


class Appended:
    """A file that grows record by record: each is written whole or not at all, and reaches the operating system at once."""

    def __init__(self, path: Path, tell: Tell) -> None:
        """The file is made with its first record. `tell` is called once, with the reason, when a record cannot be written."""
        self.path, self._tell = path, tell
        self._file: io.FileIO | None = None
        self._told = False

    def append(self, record: bytes) -> None:
        """Write a record, unless it cannot be written."""
        end = 0
        try:
            self._file = self._file or io.FileIO(self.path, "a")
            end = self._file.seek(0, io.SEEK_END)
            while record:
                record = record[self._file.write(record) :]
        except OSError as error:
            if self._file is not None:
                self._file.truncate(end)
            if not self._told:
                self._told = True
                self._tell(f"{self.path} has gaps from here on ({error.strerror}); the run continues without them")

    def close(self) -> None:
        """Close the file until the next record."""
        if self._file is not None:
            self._file.close()
            self._file = None


class BoardWriter:
    """The same numbers as TensorBoard events, in a file of their own for each session of a run."""

    def __init__(self, folder: Path, tell: Tell, *, first_step: int) -> None:
        """TensorBoard hides what it read before from `first_step` on, so that events are exact after a resume too."""
        from tensorboard.summary.writer.record_writer import RecordWriter  # here: a reader of metrics needs none of it

        messages: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")  # whose names type checkers cannot see
        self._event, self._record_writer = messages.Event, RecordWriter
        folder.mkdir(exist_ok=True)
        self._file = Appended(folder / f"events.out.tfevents.{_later_than_all(folder)}.{socket.gethostname()}", tell)
        self._append(file_version="brain.Event:2")
        self._append(step=first_step, session_log={"status": messages.SessionLog.START})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        scalars = [{"tag": name, "simple_value": value} for name, value in values.items()]
        self._append(step=step, summary={"value": scalars})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, **event: Any) -> None:
        record = io.BytesIO()
        self._record_writer(record).write(self._event(wall_time=time.time(), **event).SerializeToString())
        self._file.append(record.getvalue())


def _later_than_all(folder: Path) -> int:
    """The time in nanoseconds, unless the clock was set back: TensorBoard reads the files of a folder in this order."""
    others = (path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*"))
    return max([time.time_ns(), *(int(number) + 1 for number in others if number.isdecimal())])


class MetricLog:
    """`metrics.jsonl`, one JSON object per optimizer step, and the same numbers as TensorBoard events in `tensorboard/`.

    To each entry it adds `wall_s`, the seconds of training so far, summed over the sessions of a resumed run. Each line reaches
    the operating system at once: a kill loses at most the one being written.
    """

    def __init__(self, folder: Path, tell: Tell, *, from_step: int = 0) -> None:
        """Continue after step `from_step` (0: a new run) in `folder`, which exists. Entries of later steps are deleted."""
        path = folder / "metrics.jsonl"
        last = cut_back(path, step=from_step).last
        self._last_step = from_step
        self._started = time.monotonic() - last.get("wall_s", 0.0)
        self._file = Appended(path, tell)
        self._board = BoardWriter(folder / "tensorboard", tell, first_step=from_step + 1)

    def log(self, step: int, **values: float) -> None:
        """Write down the numbers of optimizer step `step` (from 1): epoch (from 1), loss, lr, samples_per_s and any others.

        JSON knows neither NaN nor infinity: they are written as null.
        """
        assert step > self._last_step, f"step {step} is logged after step {self._last_step}"
        self._last_step = step
        values["wall_s"] = round(time.monotonic() - self._started, 3)
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.append(json.dumps({"step": step, **finite}, allow_nan=False).encode() + b"\n")
        self._board.log(step, values)

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class BadSampleLog:
    """`bad_samples.jsonl`: the samples that could not be read. There is no such file before the first one."""

    def __init__(self, folder: Path, tell: Tell, *, from_step: int = 0) -> None:
        """Continue after step `from_step` (0: a new run) in `folder`. Entries of later steps are deleted."""
        self.path = folder / "bad_samples.jsonl"
        self._file = Appended(self.path, tell)
        self.count = cut_back(self.path, step=from_step).num_entries
        """Entries so far, those of earlier sessions included. A sample that is met in two epochs counts twice."""

    def log(self, step: int, *, epoch: int, sample: str, replaced_by: str, reason: str) -> None:
        """Write down that in `step`, `sample` (a path) could not be read because of `reason`, and what took its place."""
        entry = {"step": step, "epoch": epoch, "sample": sample, "replaced_by": replaced_by, "reason": reason}
        self._file.append(json.dumps(entry).encode() + b"\n")
        self._file.close()
        self.count += 1


def read_metrics(path: Path) -> Metrics:
    """The numbers of a `metrics.jsonl`, null as NaN; none if there is no file. Raises MaeError for a damaged file."""
    try:
        return Metrics(read_json_lines(path))
    except (TypeError, OverflowError) as error:
        raise MaeError(f"{path} is damaged: it has a value that is not a number ({error}); delete that line") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Entries of a log, one by one; none if there is no file. Raises MaeError for a damaged line, with its number.

    A last line without an end is what a kill leaves behind: it is dropped if it cannot be read.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            is_whole = line.endswith("\n")
            entry = _parse(line)
            if entry is not None:
                yield entry
            elif is_whole:
                raise MaeError(
                    f"{path}, line {number} is damaged: {line[:-1][:60]!r}. Every line is a JSON object with a whole number "
                    "'step'; delete that line and try again."
                )
            if not is_whole:
                return  # a run that is still writing may have ended the line by now


class Kept(NamedTuple):
    """What `cut_back` has left of a log."""

    num_entries: int
    last: Mapping[str, Any]
    """The last entry; empty where there is none."""


def cut_back(path: Path, *, step: int) -> Kept:
    """Delete, atomically, a log's entries of later steps than `step` and a torn last line.

    A log without entries is no file. Raises MaeError for a damaged line, with its number.
    """
    num_kept, last = 0, {}

    def copy(file: IO[bytes]) -> None:
        nonlocal num_kept, last
        for entry in read_json_lines(path):
            if entry["step"] <= step:
                file.write(json.dumps(entry).encode() + b"\n")
                num_kept, last = num_kept + 1, entry

    if path.exists():
        write_atomically(path, copy)
    if not num_kept:
        path.unlink(missing_ok=True)
    return Kept(num_kept, last)


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
