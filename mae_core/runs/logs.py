"""What a run writes down as it goes: numbers at every step, and the samples that it could not read.

Both are JSON lines files that are cut back to the checkpoint's step when a run resumes, as if it had never been interrupted.
"""

import json
import math
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mae_core.files import write_atomically
from mae_registry import MaeError


class MetricLog:
    """`metrics.jsonl`, one JSON object per optimizer step, and the same numbers as TensorBoard events in `tensorboard/`.

    To each entry it adds `wall_s`, the seconds of training so far, summed over the sessions of a resumed run. Each line reaches
    the operating system at once: a kill loses at most the one being written.
    """

    def __init__(self, folder: Path, *, from_step: int = 0) -> None:
        """Continue after step `from_step` (0: a new run) in `folder`, which exists. Entries of later steps are deleted."""
        from torch.utils.tensorboard import SummaryWriter  # here, because a reader of metrics needs neither it nor torch

        path = folder / "metrics.jsonl"
        kept = cut_back(path, step=from_step)
        self._last_step = from_step
        self._started = time.monotonic() - (kept[-1].get("wall_s", 0.0) if kept else 0.0)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        # TensorBoard hides what it read before from `purge_step` on, so events are as exact after a resume as the lines are.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=from_step + 1)

    def log(self, step: int, **values: float) -> None:
        """Write down the numbers of optimizer step `step` (from 1): epoch (from 1), loss, lr, samples_per_s and any others.

        JSON knows neither NaN nor infinity: they are written as null.
        """
        assert step > self._last_step, f"step {step} is logged after step {self._last_step}"
        self._last_step = step
        values["wall_s"] = round(time.monotonic() - self._started, 3)
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

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

    def __init__(self, folder: Path, *, from_step: int = 0) -> None:
        """Continue after step `from_step` (0: a new run) in `folder`. Entries of later steps are deleted."""
        self.path = folder / "bad_samples.jsonl"
        self.count = len(cut_back(self.path, step=from_step))
        """Entries so far, those of earlier sessions included. A sample that is met in two epochs counts twice."""

    def log(self, step: int, *, epoch: int, sample: str, replaced_by: str, reason: str) -> None:
        """Write down that in `step`, `sample` (a path) could not be read because of `reason`, and what took its place."""
        entry = {"step": step, "epoch": epoch, "sample": sample, "replaced_by": replaced_by, "reason": reason}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.count += 1


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Entries of a `metrics.jsonl`, with null as NaN; empty if there is no file. Raises MaeError as `read_json_lines` does."""
    return [{name: math.nan if value is None else value for name, value in entry.items()} for entry in read_json_lines(path)]


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Entries of a log; empty if there is no file. Raises MaeError for a damaged line, with its number.

    A last line without an end is what a kill leaves behind: it is dropped if it cannot be read.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    unfinished = lines.pop()
    entries = []
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            raise MaeError(
                f"{path}, line {number} is damaged: {line[:60]!r}. Every line is a JSON object with a whole number 'step'; "
                "delete that line and try again."
            )
        entries.append(entry)
    last = _parse(unfinished)
    return entries if last is None else [*entries, last]


def cut_back(path: Path, *, step: int) -> list[dict[str, Any]]:
    """Delete, atomically, a log's entries of later steps than `step` and a torn last line. Returns the entries that remain.

    A log without entries is no file. Raises MaeError for a damaged line, with its number.
    """
    entries = [entry for entry in read_json_lines(path) if entry["step"] <= step]
    if entries:
        content = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        write_atomically(path, lambda file: file.write(content))
    else:
        path.unlink(missing_ok=True)
    return entries


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
