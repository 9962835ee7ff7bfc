"""Labels of files: from a CSV file, or from the folders that they are in.

A CSV file has the columns `path` and `label`, and may have a third, `split`. Several labels of one file are separated by ";";
where any file has several, the labels of all are targets of 0 and 1 for each class.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

import numpy as np
import torch

from mae_core.files import write_atomically
from mae_core.interfaces import Labels
from mae_registry import ConfigError, did_you_mean

PATH, LABEL, SPLIT = "path", "label", "split"
SEPARATOR = ";"


@dataclass(frozen=True)
class Table:
    """What a CSV file of labels says. The lists have an entry for each of its rows."""

    file: str
    """The absolute path of the CSV file."""
    paths: list[str]
    """Of the files, as they are written."""
    classes: list[str]
    """The labels of each, as they are written."""
    splits: list[str] | None
    lines: Sequence[int]
    """The line of the file that each row ends on, counted from 1."""

    @property
    def folder(self) -> str:
        """Where the CSV file lies."""
        return os.path.dirname(self.file)

    def rows(self, split: str | None, *, key: str) -> Sequence[int]:
        """The rows of a split, or all of them. Raises ConfigError where the recipe should name a split of its, or should not.

        `key` is that of the dataset in the recipe.
        """
        if self.splits is None:
            if split is not None:
                raise ConfigError(f"{key}.split={split}: {self.file} has no column split; leave {key}.split out, or add it")
            return range(len(self.paths))
        known = sorted(set(self.splits))
        if split is None:
            raise ConfigError(f"{self.file} has several splits; add {key}.split=NAME, one of {', '.join(known)}")
        if split not in known:
            raise ConfigError(f"{key}.split: {self.file} has no split {split!r}.{did_you_mean(split, known)}")
        return [row for row, found in enumerate(self.splits) if found == split]

    def require_once(self) -> None:
        """Raise ConfigError for a path that is listed twice."""
        firsts: dict[str, int] = {}
        for path, line in zip(self.paths, self.lines, strict=True):
            if (first := firsts.setdefault(os.path.normpath(path), line)) != line:
                raise ConfigError(f"{self.file} lists {path} twice, in the lines {first} and {line}; keep one of them")

    def labels(self, rows: Sequence[int]) -> Labels:
        """The labels of some rows. The classes are those of the whole file."""
        parts = {text: tuple(part.strip() for part in text.split(SEPARATOR)) for text in dict.fromkeys(self.classes)}
        names = tuple(sorted({name for several in parts.values() for name in several}))
        number = {name: index for index, name in enumerate(names)}
        if all(len(several) == 1 for several in parts.values()):
            numbers = {text: number[name] for text, (name,) in parts.items()}
            return Labels(names, torch.tensor([numbers[self.classes[row]] for row in rows], dtype=torch.int64))
        targets = torch.zeros(len(rows), len(names))
        for row, target in zip(rows, targets, strict=True):
            target[[number[name] for name in parts[self.classes[row]]]] = 1
        return Labels(names, targets)


def read_table(path: str, *, key: str) -> Table:
    """Read a CSV file of paths and labels. Raises ConfigError with the file and the line for whatever is wrong with it.

    `key` is that of the dataset in the recipe, whose `labels` is this file. Whether the files exist is not asked.
    """
    name = os.path.abspath(os.path.expanduser(path))
    try:
        # names of files need not be UTF-8
        with open(name, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            table = _parse(name, file)
    except OSError as error:
        allowed = "null, folders, or the path of a CSV file with the columns path and label"
        raise ConfigError(f"{key}.labels: {name} cannot be read: {error.strerror}; labels may be {allowed}") from error
    if not table.paths:
        raise ConfigError(f"{name} lists no files below its first line, {PATH},{LABEL}")
    _check_labels(table)
    return table


def write_table(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write a CSV file with the columns path, label and split. Raises MaeError where that cannot be done."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((PATH, LABEL, SPLIT))
    writer.writerows(rows)
    content = text.getvalue().encode("utf-8", errors="surrogateescape")
    write_atomically(path, lambda file: file.write(content))


def folder_labels(names: Sequence[bytes], *, root: str) -> Labels:
    """The label of each file: the first folder of its path below `root`. Raises ConfigError for a file outside of these."""
    numbers: dict[bytes, int] = {}
    codes = np.empty(len(names), dtype=np.int64)
    for index, name in enumerate(names):
        folder, found, _ = name.partition(b"/")
        if not found:
            raise ConfigError(
                f"{os.path.join(root, os.fsdecode(name))} is not in the folder of a class; "
                f"with labels, {root} must contain one folder for each class"
            )
        codes[index] = numbers.setdefault(folder, len(numbers))
    classes = sorted(map(os.fsdecode, numbers))
    ranks = np.empty(len(numbers), dtype=np.int64)
    for rank, name in enumerate(classes):
        ranks[numbers[os.fsencode(name)]] = rank
    return Labels(tuple(classes), torch.from_numpy(ranks[codes]))


def _parse(name: str, file: Iterable[str]) -> Table:
    """The rows of a CSV file, its first line being the names of the columns."""
    reader = csv.reader(file, strict=True)
    columns: dict[str, int] = {}
    paths: list[str] = []
    classes: list[str] = []
    splits: list[str] = []
    lines: list[int] = []
    try:
        header = [column.strip() for column in next(reader, [])]
        columns = _columns(name, header)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                _refuse(
                    name,
                    reader.line_num,
                    f"the number of values is {len(row)}, but there are {len(header)} columns ({', '.join(header)})",
                )
            paths.append(row[columns[PATH]])
            classes.append(row[columns[LABEL]].strip())
            lines.append(reader.line_num)
            if SPLIT in columns:
                splits.append(row[columns[SPLIT]].strip())
    except csv.Error as error:
        _refuse(name, reader.line_num, f"it is not CSV: {error}")
    return Table(name, paths, classes, splits if SPLIT in columns else None, lines)


def _columns(name: str, header: list[str]) -> dict[str, int]:
    known = {PATH, LABEL, SPLIT}
    found = {column: index for index, column in enumerate(header)}
    if not {PATH, LABEL} <= set(found) <= known or len(found) < len(header):
        _refuse(name, 1, f"the columns are {','.join(header)!r}; they must be path,label or path,label,split")
    return found


def _check_labels(table: Table) -> None:
    """Raise ConfigError for the first row that has no path, no label, or the same label twice."""
    if "" in table.paths:
        _refuse(table.file, table.lines[table.paths.index("")], "the path is missing")
    if table.splits is not None and "" in table.splits:
        _refuse(table.file, table.lines[table.splits.index("")], "the split is missing")
    for text in dict.fromkeys(table.classes):  # each only once: there are far fewer classes than files
        parts = [part.strip() for part in text.split(SEPARATOR)]
        line = table.lines[table.classes.index(text)] if "" in parts or len(set(parts)) < len(parts) else 0
        if not text:
            _refuse(table.file, line, "the label is missing")
        if line:
            _refuse(
                table.file, line, f"the labels are {text!r}; between two {SEPARATOR!r} must be one label, and each only once"
            )


def _refuse(name: str, line: int, problem: str) -> Never:
    raise ConfigError(f"{name}, line {line}: {problem}")
