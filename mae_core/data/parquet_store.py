"""Files in Parquet, as Hugging Face publishes data sets: a column of bytes and, for labels, a column of numbers or names."""

import bisect
import glob
import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.data.files import Content, one_line
from mae_core.data.stores import Names, Store
from mae_core.interfaces import BadSample, Labels
from mae_registry import ConfigError

SUFFIX = ".parquet"
MAX_KEPT = 2**28
"""Bytes of row groups that a process keeps; at least the one that was read last."""


@dataclass(frozen=True)
class _Columns:
    """Which columns are taken."""

    files: str
    is_struct: bool
    """Whether a file's bytes are the field `bytes` of a struct."""
    label: str | None
    classes: list[str] | None
    """Names of the classes, in the order of their numbers in the file; None: the column holds the names."""


class ParquetStore(Store):
    """The rows of Parquet files. One row is read with all of its row group, and the last few of these are kept.

    Raises ConfigError, with the `key` of the dataset in the recipe, for what holds no files.
    """

    extras = ()

    def __init__(self, paths: Sequence[str], *, label: str | None, key: str) -> None:
        """`label`: the column of the labels; None: the only one that says which classes there are, if there is one."""
        self._paths = list(paths)
        groups: list[int] = []
        self._groups: list[tuple[int, int]] = []
        """The file of each row group, and its number in it."""
        sizes = 0
        self._columns = _find_columns(_schema(self._paths[0], key), label, key=key, place=self._paths[0])
        for number, path in enumerate(self._paths):
            metadata = _open(path, key).metadata
            for group in range(metadata.num_row_groups):
                groups.append(metadata.row_group(group).num_rows)
                sizes += metadata.row_group(group).total_byte_size
                self._groups.append((number, group))
        self._ends, self._size = list(itertools.accumulate(groups)), sizes
        length = self._ends[-1] if self._ends else 0
        if not length:
            raise ConfigError(f"{key}.root: {', '.join(self._paths)} holds no rows")
        self.names = Names.of([b"%09d" % row for row in range(length)])
        self.labels = self._read_labels(key) if self._columns.label else None
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def file(self, index: int) -> Content:
        """The bytes of one row. Raises BadSample."""
        group, row = self._place(index)
        try:
            value = self._group(group)[row].as_py()
        except Exception as error:  # pyarrow raises its own errors, and OSError
            raise BadSample(f"{self.describe(index)}: the row cannot be read: {one_line(error)}") from error
        data = value.get("bytes") if isinstance(value, dict) else value
        if not data:
            raise BadSample(f"{self.describe(index)}: the column {self._columns.files} holds no bytes in this row")
        return Content(self.describe(index), data)

    def extra(self, index: int, name: str) -> Tensor:
        """Parquet files have none here."""
        raise BadSample(f"{self.describe(index)}: there is no extra {name} in Parquet files; store the data as shards")

    def describe(self, index: int) -> str:
        """The path of the file and, after a colon, the number of the row in all files, from 0 on."""
        number, _ = self._groups[self._place(index)[0]]
        return f"{self._paths[number]}:{os.fsdecode(self.names[index])}"

    def num_bytes(self) -> int:
        """About: what the files hold before compression."""
        return self._size

    def _place(self, index: int) -> tuple[int, int]:
        """The row group, and the row in it."""
        group = bisect.bisect_right(self._ends, index)
        return group, index - (self._ends[group - 1] if group else 0)

    def _group(self, group: int) -> Any:
        """The column of files of one row group."""
        if group in self._kept:
            self._kept.move_to_end(group)
            return self._kept[group]
        number, own = self._groups[group]
        name = f"{self._columns.files}.bytes" if self._columns.is_struct else self._columns.files
        column = _open(self._paths[number], "data").read_row_group(own, columns=[name], use_threads=False).column(0)
        while self._kept and column.nbytes + sum(kept.nbytes for kept in self._kept.values()) > MAX_KEPT:
            self._kept.popitem(last=False)
        self._kept[group] = column
        return column

    def _read_labels(self, key: str) -> Labels:
        """Of all rows; the classes in the order of their names."""
        name, classes = self._columns.label, self._columns.classes
        values: list[Any] = []
        for path in self._paths:
            values += _open(path, key).read([name], use_threads=False).column(0).to_pylist()
        allowed = set(range(len(classes))) if classes is not None else None
        for row, value in enumerate(values):
            if value is None or (allowed is not None and value not in allowed):
                raise ConfigError(f"{key}: the label of row {row} is {value}, which is no class of the column {name}")
        texts: list[str] = [str(value) if classes is None else classes[value] for value in values]
        names = tuple(sorted(set(texts) if classes is None else set(classes)))
        number = {name: index for index, name in enumerate(names)}
        return Labels(names, torch.from_numpy(np.array([number[text] for text in texts], dtype=np.int64)))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict()}


def parquet_files(root: str, split: str | None, *, key: str) -> list[str]:
    """The Parquet files that `root` names: one, a pattern, or a folder; of a split, those whose path says its name."""
    if os.path.isfile(root):
        return [root]
    found, splits = _find(root), parquet_splits(root)
    if split is None and len(splits) > 1:
        raise ConfigError(f"{key}.root: {root} has several splits; add {key}.split=NAME, one of {', '.join(splits)}")
    chosen = [path for path in found if split in (None, _split_of(path))]
    if not chosen:
        known = f" of a split {split}; there are {', '.join(splits)}" if split else ""
        raise ConfigError(f"{key}.root: {root} contains no Parquet files{known}")
    return chosen


def parquet_splits(root: str) -> list[str]:
    """Names of the splits that the Parquet files of a folder are of, as their paths say."""
    return sorted({_split_of(path) for path in _find(root)})


def _find(root: str) -> list[str]:
    pattern = root if "*" in root else os.path.join(glob.escape(root), "**", f"*{SUFFIX}")
    return sorted(path for path in glob.glob(pattern, recursive=True) if path.endswith(SUFFIX))


def _split_of(path: str) -> str:
    """train of .../train-00000-of-00002.parquet and .../train/0000.parquet."""
    stem = os.path.basename(path).removesuffix(SUFFIX)
    name = stem.split("-")[0]
    return os.path.basename(os.path.dirname(path)) if name.isdigit() else name


def _open(path: str, key: str) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(f"{key}: Parquet files need the package pyarrow: pip install 'mae-core[parquet]'") from error
    try:
        return parquet.ParquetFile(path)
    except Exception as error:
        raise ConfigError(f"{key}: {path} is no Parquet file that can be read: {one_line(error)}") from error


def _schema(path: str, key: str) -> Any:
    return _open(path, key).schema_arrow


def _find_columns(schema: Any, label: str | None, *, key: str, place: str) -> _Columns:
    """Which columns hold files and labels. Raises ConfigError that lists the columns."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    def is_file(kind: Any) -> bool:
        return types.is_struct(kind) and any(inner.name == "bytes" and holds_bytes(inner.type) for inner in kind)

    structs = [field.name for field in schema if is_file(field.type)]
    files = structs or [field.name for field in schema if holds_bytes(field.type)]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if len(files) != 1:
        raise ConfigError(
            f"{key}.root: one column of {place} must hold files, as bytes or as a struct with the field bytes; "
            f"there are {columns}"
        )
    classes = _classes(schema)
    if label is None:
        label = next(iter(classes)) if len(classes) == 1 else None
    elif label not in schema.names:
        raise ConfigError(f"{key}.labels={label}: {place} has no column of this name; its columns are {columns}")
    return _Columns(files[0], bool(structs), label, classes.get(label) if label else None)


def _classes(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of each column that Hugging Face's metadata say them of."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {name: about["names"] for name, about in features.items() if about.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
