"""CSV files with a header: a row for each time, a column for each channel. A missing value is an empty cell, or `nan`."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from mae_core.interfaces import BadSample, Tokenizer
from mae_registry import MaeError, some_of

LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Series:
    """What a CSV file holds."""

    path: Path
    columns: list[str]
    values: Tensor
    """(channels, rows) float32, NaN where a value is missing."""
    lines: list[int]
    """Of the file, one a row."""

    def starts(self, length: int) -> list[int]:
        """All rows from which on `length` rows lack no value. Raises BadSample if there is none."""
        missing = self.values.isnan().any(dim=0)
        missing_before = pad(missing.cumsum(0), (1, 0))
        starts = (missing_before[length:] == missing_before[:-length]).nonzero().flatten().tolist()
        if not starts:
            first = f"; line {self.lines[int(missing.int().argmax())]} is the first that lacks one" if missing.any() else ""
            raise BadSample(f"{self.path}: {len(missing)} rows, no {length} in succession with all their values{first}")
        return starts

    def window(self, start: int, length: int) -> Tensor:
        """(channels, length)."""
        return self.values[:, start : start + length].clone()


def read(path: Path, tokenizer: Tokenizer) -> Tensor:
    """The first part of a file that has no missing value, (channels, length). Raises BadSample."""
    num_channels, length = tokenizer.sample_shape
    series = read_series(path, num_channels)
    return series.window(series.starts(length)[0], length)


def read_columns(path: Path, num_channels: int) -> list[str]:
    """The names of a file's columns, from its header. Raises BadSample if these are not `num_channels` names."""
    line, cells = next(_lines(path), (1, []))
    columns = [cell.strip() for cell in cells]
    if len(columns) != num_channels:
        raise BadSample(f"{path}:{line}: {len(columns)} columns ({some_of(columns)}); the model takes {num_channels} channels")
    if all(map(_is_number, columns)):
        raise BadSample(f"{path}:{line}: numbers where the names of the columns belong; add a header")
    return columns


def read_series(path: Path, num_channels: int) -> Series:
    """A whole file. Raises BadSample, naming the line, if it is anything else than numbers below `num_channels` names."""
    columns = read_columns(path, num_channels)
    _header, *body = _lines(path)
    rows = [_numbers(f"{path}:{line}", cells, columns) for line, cells in body]
    values = torch.tensor(rows, dtype=torch.float32).view(-1, num_channels).T
    return Series(path, columns, values, [line for line, _ in body])


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number, cells) of each line that is not blank."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except OSError as error:
        raise BadSample(f"{path}: the file cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSample(f"{path}: not a CSV file in UTF-8: {error}") from error


def _numbers(where: str, cells: list[str], columns: list[str]) -> list[float]:
    if len(cells) != len(columns):
        raise BadSample(f"{where}: {len(cells)} cells below a header of {len(columns)}")
    for cell, column in zip(cells, columns, strict=True):
        if cell.strip() and not _is_number(cell):
            raise BadSample(f"{where}: column {column!r} holds {cell!r}, which is no number that float32 can hold")
    return [float(cell.strip() or "nan") for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        return not abs(float(cell)) > LARGEST  # NaN, a missing value, is not larger
    except ValueError:
        return False


def measure(samples: Iterable[Tensor]) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel, for the tokenizer. Raises MaeError on a channel that never changes."""
    moments = [torch.stack([x.mean(dim=1), x.square().mean(dim=1)]) for x in map(Tensor.double, samples)]
    if not moments:
        raise MaeError("there is no series to measure")
    mean, square = torch.stack(moments).mean(dim=0)
    std = (square - mean.square()).clamp(min=0).sqrt()
    if not std.all():
        raise MaeError(f"column {int(std.argmin()) + 1} is {mean[std.argmin()]:g} throughout; leave it out of the files")
    return {"mean": mean.tolist(), "std": std.tolist()}
