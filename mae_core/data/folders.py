"""Folders of files, whatever is in them."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from mae_core.data.files import File
from mae_core.data.find_store import find_store, is_shards
from mae_core.data.parquet_store import ParquetStore
from mae_core.data.stores import FolderStore, MemoryStore, Selection, Store
from mae_core.data.tables import Table, folder_labels, read_table
from mae_core.interfaces import BadSample, Dataset, Draws, Labels, Modality, Preview, Sample, as_sample
from mae_registry import ConfigError, did_you_mean

FOLDERS = "folders"
"""Labels that are the names of folders."""


class FileFolder(Dataset):
    """The files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Symbolic links are followed, and each folder is read once. Names that begin with a dot are left out, and so is what is not a
    regular file. `what` is the plural of what one file is ("recordings"), for messages.

    Instead of a folder of files, `root` may be a folder of shards (`mae shards make`), on this machine or at an address such as
    s3://bucket/folder; or a Parquet file, a folder of them, or a pattern. Their labels come with them.

    Args:
        labels: null; "folders", where every class has a folder of its own in `root`; or the path of a CSV file, which then says
            which files there are (see `mae_core.data.tables`). Its relative paths start at `root`, or where `root` is null at
            the folder of the CSV file. Of Parquet files: the name of a column, where it is not the only one with classes.
        split: with a CSV file that has the column "split": which of its rows are taken. With Parquet files: those whose names
            begin with it, or that lie in a folder of this name.
        balanced: an epoch is this many files, drawn without replacement so that all classes come about equally often: a file's
            weight is 1 over the number of files of its class, summed over its classes. null: an epoch is every file once.
        extras: names of arrays that each sample comes with: of the file a/b.xyz, NAME is in a/b.NAME.npy. null: those that
            shards have stored.
        in_memory: read all files at the start, and keep them as they are, encoded; forked workers share them.
        cache: a folder of this machine, to which shards at an address are copied when they are first read.
    """

    def __init__(
        self,
        root: str | None,
        *,
        modality: Modality,
        what: str,
        labels: str | None = None,
        split: str | None = None,
        balanced: int | None = None,
        extras: Sequence[str] | None = None,
        in_memory: bool = False,
        cache: str | None = None,
    ) -> None:
        key = f"data.{modality.name}"
        self._key, self._split = key, split
        opened = open_files(root, labels, split, suffixes=modality.file_suffixes, what=what, key=key, cache=cache)
        self.store, self.labels, self.table = opened
        self.extras = self._known_extras(extras)
        if in_memory:
            self.store = MemoryStore(self.store, key=f"{key}.in_memory")
        self.draws = None if balanced is None else self._balanced(balanced, key=f"{key}.balanced")

    def __len__(self) -> int:
        return len(self.store)

    @abstractmethod
    def read(self, index: int) -> Tensor | Sample:
        """One file as a sample, un-augmented. Raises BadSample."""

    def file(self, index: int) -> File:
        """What a reader is given of one file. Raises BadSample where a shard is damaged."""
        return self.store.file(index)

    def name(self, index: int) -> str:
        """The path of a file from the folder on."""
        return os.fsdecode(self.store.names[index])

    def describe(self, index: int) -> str:
        """The absolute path; of shards, that of the shard and the file's name in it."""
        return self.store.describe(index)

    def labelled(self, x: Tensor, index: int, *, num_views: int | None = None) -> Tensor | Sample:
        """See `Dataset.labelled`; with the extras of the file too. Raises BadSample."""
        labelled = super().labelled(x, index, num_views=num_views)
        if not self.extras:
            return labelled
        found = {name: self.store.extra(index, name) for name in self.extras}
        if num_views is not None:
            found = {name: extra.expand(num_views, *extra.shape) for name, extra in found.items()}
        return Sample(x, {**found, **as_sample(labelled).extras})

    def _known_extras(self, extras: Sequence[str] | None) -> tuple[str, ...]:
        """The extras that samples come with. Raises ConfigError for one that shards do not have."""
        stored = self.store.extras
        if extras is None:
            return tuple(stored or ())
        if stored is not None and (missing := [name for name in extras if name not in stored]):
            raise ConfigError(
                f"{self._key}.extras: {missing[0]} is not stored with these files.{did_you_mean(missing[0], stored)}"
            )
        return tuple(extras)

    def _balanced(self, number: int, *, key: str) -> Draws:
        """An epoch of `number` files. Raises ConfigError where they have no labels."""
        if self.labels is None:
            raise ConfigError(f"{key} balances classes, so it needs labels: set {key.rpartition('.')[0]}.labels, or {key}=null")
        if number > len(self):
            raise ConfigError(
                f"{key}={number}: there are {len(self)} files, none of which is drawn twice in an epoch; lower it"
            )
        return Draws(number, self.labels.balancing_weights())

    def listed(self, indices: Sequence[int]) -> list[str]:
        """The absolute paths of files, with the lines of the CSV file that lists them: for messages, since it is read again."""
        paths = [self.describe(index) for index in indices]
        if self.table is None:
            return paths
        table = read_table(self.table, key=self._key)
        rows = table.rows(self._split, key=self._key)
        lines = [table.lines[rows[index]] for index in indices]
        return [f"{path} ({self.table}, line {line})" for path, line in zip(paths, lines, strict=True)]

    def previews(self, count: int) -> Sequence[Preview]:
        """Files spread evenly over the folder, all of them training ones; those that cannot be read are left out."""
        previews: list[Preview] = []
        for index in spread(count, len(self)):
            try:
                sample = as_sample(self.read(index))
            except BadSample:
                continue
            previews.append(Preview(self.name(index), sample.x, "training", sample.extras))
        return previews


class Opened(NamedTuple):
    """What a recipe says of files."""

    store: Store
    labels: Labels | None
    table: str | None
    """The absolute path of the CSV file that lists them, if one does."""


def open_files(
    root: str | None,
    labels: str | None,
    split: str | None,
    *,
    suffixes: Sequence[str],
    what: str,
    key: str,
    cache: str | None = None,
) -> Opened:
    """Files and their labels, as the options of `FileFolder` name them. Raises ConfigError, with the `key` of the dataset."""
    if labels is not None and labels != FOLDERS and _is_table(labels):
        table = read_table(labels, key=key)
        rows = table.rows(split, key=key)
        return Opened(_listed_store(root, table, rows, key=key, cache=cache), table.labels(rows), table.file)
    column = None if labels == FOLDERS else labels
    store = find_store(root, suffixes=suffixes, key=key, what=what, split=split, column=column, cache=cache)
    if not isinstance(store, ParquetStore):
        if column is not None:
            read_table(column, key=key)  # raises what there is to say
        if split is not None:
            raise ConfigError(f"{key}.split={split} needs a CSV file with the column split: set {key}.labels to its path")
    found = folder_labels(store.names, root=str(root)) if labels == FOLDERS else store.labels
    return Opened(store, found, None)


def _is_table(labels: str) -> bool:
    """Whether these labels are in a CSV file, and not in a column of Parquet files."""
    return labels.lower().endswith(".csv") or os.path.isfile(os.path.expanduser(labels))


def _listed_store(root: str | None, table: Table, rows: Sequence[int], *, key: str, cache: str | None) -> Store:
    """The files that some rows of a table list."""
    names = [os.fsencode(table.paths[row]) for row in rows]
    if root is None or not is_shards(root):
        return FolderStore(os.path.abspath(os.path.expanduser(root)) if root else table.folder, names)
    store = find_store(root, suffixes=(), key=key, what="files", cache=cache)
    places = {name: index for index, name in enumerate(store.names)}
    for name, row in zip(names, rows, strict=True):
        if name not in places:
            raise ConfigError(f"{table.file}, line {table.lines[row]}: {os.fsdecode(name)} is not in the shards of {root}")
    return Selection(store, [places[name] for name in names])


def spread(count: int, total: int) -> list[int]:
    """Up to `count` different indices below `total`, spread evenly."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
