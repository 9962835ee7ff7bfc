"""The numbers of a run in columns, so that those of hundreds of thousands of steps fit into some tens of megabytes."""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """One number over the steps at which it was recorded."""

    steps: NDArray[np.int64]
    """(N,)"""
    values: Floats
    """(N,), finite."""

    def __len__(self) -> int:
        return len(self.steps)

    def value_at(self, step: int) -> float | None:
        """None where nothing was recorded."""
        found = self.values[self.steps == step]
        return float(found[-1]) if len(found) else None


class Metrics:
    """The entries of a `metrics.jsonl`, 8 bytes a number."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Each entry has a "step". Raises TypeError or OverflowError for values that are neither numbers nor None."""
        steps: array[int] = array("q")
        columns: dict[str, array[float]] = {}
        for row, entry in enumerate(entries):
            steps.append(entry["step"])
            for name, value in entry.items():
                if name != "step":
                    column = columns.setdefault(name, array("d"))
                    _fill(column, row)
                    column.append(math.nan if value is None else value)
        for column in columns.values():
            _fill(column, len(steps))
        self.steps: NDArray[np.int64] = np.asarray(steps, dtype=np.int64)
        """(entries,)"""
        self._columns: dict[str, Floats] = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> dict[str, float]:
        """The numbers of one entry, without those that are NaN or missing."""
        numbers = {name: float(column[index]) for name, column in self._columns.items() if not np.isnan(column[index])}
        return {"step": int(self.steps[index]), **numbers}

    def __iter__(self) -> Iterator[dict[str, float]]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> list[str]:
        """Of all numbers but the step, in the order in which they first appeared."""
        return list(self._columns)

    def points(self, name: str) -> Points:
        """The finite values of a number; none where it was never recorded."""
        column = self._columns.get(name, np.empty(0))
        finite = np.isfinite(column)
        return Points(self.steps[: len(column)][finite], column[finite])


def _fill(column: "array[float]", length: int) -> None:
    """With NaN, up to this length."""
    column.extend(array("d", [math.nan]) * (length - len(column)))
