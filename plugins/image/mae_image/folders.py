"""Folders of files, whatever is in them."""

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mae_core.interfaces import BadSample, Dataset, Modality, Preview
from mae_registry import ConfigError


class FileFolder(Dataset):
    """The files of a folder and of the folders in it, by suffix (the modality's, in any case), sorted by name.

    Symbolic links to folders are followed, each folder being read once; names that begin with a dot are left out. `what` is the
    plural of what one file is.
    """

    def __init__(self, root: str | None, modality: Modality, what: str) -> None:
        self._root = absolute(root, modality, f"{modality.name}_folder", f"a folder of {what}")
        names = _list_files(self._root, modality, what)
        # one bytes object rather than a million: small, quick to send to workers, and never copied by reference counts
        self._names = b"".join(names)
        self._ends = np.cumsum([len(name) for name in names])

    def __len__(self) -> int:
        return len(self._ends)

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self._root, self._name(index))

    def previews(self, count: int) -> Sequence[Preview]:
        """Files spread evenly over the folder, all of them training ones; those that cannot be read are left out."""
        previews: list[Preview] = []
        for index in spread(count, len(self)):
            try:
                sample = self._read_center(self.describe(index))
            except BadSample:
                continue
            previews.append(Preview(self._name(index), sample, "training"))
        return previews

    @abstractmethod
    def _read_center(self, path: str) -> Tensor:
        """One file as a sample, un-augmented. Raises BadSample."""

    def _name(self, index: int) -> str:
        start = self._ends[index - 1] if index > 0 else 0
        return os.fsdecode(self._names[start : self._ends[index]])


def absolute(root: str | None, modality: Modality, dataset: str, what: str) -> str:
    """`root` as a full path. Raises ConfigError, with the option to give, if there is none."""
    if not root:
        raise ConfigError(f"{dataset} does not know where the data are: give data.{modality.name}.root=DIR, {what}")
    return os.path.abspath(os.path.expanduser(root))


def _list_files(root: str, modality: Modality, what: str) -> list[bytes]:
    """Names of the modality's files below `root`, relative to it, sorted. Raises ConfigError if there are none."""
    key, suffixes = f"data.{modality.name}.root", modality.file_suffixes
    names: list[bytes] = []
    others: Counter[str] = Counter()
    try:
        _scan(os.fsencode(root), frozenset(map(os.fsencode, suffixes)), names, others)
    except FileNotFoundError as error:
        raise ConfigError(f"{key}: there is no folder {os.fsdecode(error.filename)}") from error
    except NotADirectoryError as error:
        raise ConfigError(f"{key}: {root} is a file; give the folder that holds the {what}") from error
    except OSError as error:
        raise ConfigError(f"{key}: {os.fsdecode(error.filename)} cannot be listed: {error.strerror}") from error
    if not names:
        most = ", ".join(f"{number} {suffix or 'without a suffix'}" for suffix, number in others.most_common(5))
        seen = f"{others.total()} other files ({most})" if others else "no files at all"
        raise ConfigError(f"{key}: {root} holds {seen} but no {what}; read are {', '.join(suffixes)}")
    return sorted(names)


def _scan(root: bytes, suffixes: frozenset[bytes], names: list[bytes], others: Counter[str]) -> None:
    """Append to `names`; count other files by suffix. Asks nothing of a file but its folder's entry: a million are common."""
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
                elif suffix in suffixes:
                    names.append(name)
                else:
                    others[os.fsdecode(suffix)] += 1
        pending += sorted(folders, reverse=True)  # which of two ways into a folder is taken must not depend on the disk


def spread(count: int, total: int) -> list[int]:
    """Up to `count` different indices below `total`, spread evenly."""
    count = min(count, total)
    return [i * total // count for i in range(count)]
