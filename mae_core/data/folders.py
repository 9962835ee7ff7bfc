"""Folders of files, whatever is in them."""

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mae_core.data.tables import folder_labels, read_table
from mae_core.interfaces import BadSample, Dataset, Draws, Modality, Preview, Sample, as_sample
from mae_registry import ConfigError

FOLDERS = "folders"
"""Labels that are the names of folders."""


class FileFolder(Dataset):
    """The files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Symbolic links are followed, and each folder is read once. Names that begin with a dot are left out, and so is what is not a
    regular file. `what` is the plural of what one file is ("recordings"), for messages.

    Args:
        labels: null; "folders", where every class has a folder of its own in `root`; or the path of a CSV file, which then says
            which files there are (see `mae_core.data.tables`). Its relative paths start at `root`, or where `root` is null at
            the folder of the CSV file.
        split: with a CSV file that has the column "split": which of its rows are taken.
        balanced: an epoch is this many files, drawn without replacement so that all classes come about equally often: a file's
            weight is 1 over the number of files of its class, summed over its classes. null: an epoch is every file once.
    """

    table: str | None = None
    """The absolute path of the CSV file that lists the files, if one does."""

    def __init__(
        self,
        root: str | None,
        *,
        modality: Modality,
        what: str,
        labels: str | None = None,
        split: str | None = None,
        balanced: int | None = None,
    ) -> None:
        key = f"data.{modality.name}"
        self._key, self._split = key, split
        if labels is None or labels == FOLDERS:
            if split is not None:
                raise ConfigError(f"{key}.split={split} needs a CSV file with the column split: set {key}.labels to its path")
            self._root = absolute(root, key=f"{key}.root", what=f"a folder of {what}")
            names = list_files(self._root, suffixes=modality.file_suffixes, key=f"{key}.root", what=what)
            self.labels = folder_labels(names, root=self._root) if labels == FOLDERS else None
        else:
            table = read_table(labels, key=key)
            self.table = table.file
            self._root = os.path.abspath(os.path.expanduser(root)) if root else table.folder
            rows = table.rows(split, key=key)
            names = [os.fsencode(table.paths[row]) for row in rows]
            self.labels = table.labels(rows)
        # one bytes object rather than a million: small, quick to send to workers, and never copied by reference counts
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names])
        self.draws = None if balanced is None else self._balanced(balanced, key=f"{key}.balanced")

    def __len__(self) -> int:
        return len(self._ends)

    @abstractmethod
    def read(self, index: int) -> Tensor | Sample:
        """One file as a sample, un-augmented. Raises BadSample."""

    def name(self, index: int) -> str:
        """The path of a file from the folder on."""
        start = self._ends[index - 1] if index > 0 else 0
        return os.fsdecode(self._names[start : self._ends[index]])

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self._root, self.name(index))

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


def absolute(root: str | None, *, key: str, what: str) -> str:
    """`root` as a full path. Raises ConfigError, with the key to give, if there is none."""
    if not root:
        raise ConfigError(f"the recipe does not say where the data are; add {key}=DIR, {what}")
    return os.path.abspath(os.path.expanduser(root))


def list_files(root: str, *, suffixes: Sequence[str], key: str, what: str) -> list[bytes]:
    """Names of the files below `root` with these suffixes, relative to it, sorted. Raises ConfigError if there are none.

    `key` is that of the recipe which says `root`.
    """
    names: list[bytes] = []
    others: Counter[str] = Counter()
    try:
        _scan(os.fsencode(root), frozenset(map(os.fsencode, suffixes)), names, others)
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: there is no folder {os.fsdecode(error.filename)}") from error
    except NotADirectoryError as error:
        raise ConfigError(f"{key}: {root} is a file; give the folder that holds the {what}") from error
    except (OSError, ValueError) as error:
        place, reason = (error.filename, error.strerror) if isinstance(error, OSError) else (root, str(error))
        raise ConfigError(f"{key}: {os.fsdecode(place)} cannot be listed: {reason}") from error
    if not names:
        raise ConfigError(
            f"{key}: {root} contains no {what}{_what_else(others)}; the names of such files end in {', '.join(suffixes)}"
        )
    return sorted(names)


def _what_else(others: Counter[str]) -> str:
    """What a folder holds instead, for the message that says what it lacks."""
    if not others:
        return "; it is empty"
    most = ", ".join(f"{number} {kind}" for kind, number in others.most_common(5))
    return f" but {others.total()} other {'file' if others.total() == 1 else 'files'} ({most})"


def _scan(root: bytes, suffixes: frozenset[bytes], names: list[bytes], others: Counter[str]) -> None:
    """Append to `names`; count other files by kind. Asks nothing of a file but its folder's entry: a million are common."""
    seen: set[tuple[int, int]] = set()
    pending = [b""]
    while pending:
        folder = pending.pop()
        path = os.path.join(root, folder) if folder else root
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:  # reached again, through a symbolic link
            continue
        seen.add((status.st_dev, status.st_ino))
        folders: list[bytes] = []
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                name = os.path.join(folder, entry.name)
                suffix = os.path.splitext(entry.name)[1].lower()
                if entry.is_dir():
                    folders.append(name)
                elif suffix not in suffixes:
                    others[os.fsdecode(suffix) or "without a suffix"] += 1
                elif entry.is_file():
                    names.append(name)
                else:  # a pipe, or a link to nothing
                    others[f"{os.fsdecode(suffix)} that is not a regular file"] += 1
        pending += sorted(folders, reverse=True)  # which of two ways into a folder is taken must not depend on the disk


def spread(count: int, total: int) -> list[int]:
    """Up to `count` different indices below `total`, spread evenly."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
