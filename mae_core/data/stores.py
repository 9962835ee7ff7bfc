"""Where files lie: in a folder, in memory, or elsewhere. A dataset asks its store for a file by number."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mae_core.data.arrays import read_array
from mae_core.data.files import Content, File, read_content
from mae_core.interfaces import BadSample, Labels
from mae_registry import ConfigError


class Names(Sequence[bytes]):
    """Names of files in one array of bytes: small, quick to send to workers, and never copied by reference counts."""

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """`ends`: where in `text` each name ends."""
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Sequence[bytes]) -> "Names":
        """A list of names."""
        lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        return cls(np.frombuffer(b"".join(names), dtype=np.uint8), lengths.cumsum())

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride] - slices are not asked for
        start = int(self.ends[index - 1]) if index > 0 else 0
        return self.text[start : int(self.ends[index])].tobytes()


class Store(ABC):
    """Numbered files in a fixed order, wherever they lie.

    What `file` gives depends on its argument alone, as `Dataset.load` does. Stores are pickled to worker processes, or shared
    with them by fork: one that keeps something open must not share its place in it.
    """

    names: Sequence[bytes]
    """Of the files, as paths from the root of the store on."""
    labels: Labels | None = None
    """What the store itself says of the classes of its files."""
    extras: Sequence[str] | None = None
    """Names of the arrays that belong to every file; None: only those who ask for them know."""

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def file(self, index: int) -> File:
        """What a reader is given of one file. Raises BadSample where it is damaged or missing."""

    @abstractmethod
    def extra(self, index: int, name: str) -> Tensor:
        """An array that belongs to a file. Raises BadSample."""

    @abstractmethod
    def describe(self, index: int) -> str:
        """What a person would call the file."""

    @abstractmethod
    def num_bytes(self) -> int:
        """What all files hold together."""

    def path(self, index: int) -> str | None:
        """The absolute path of a file that has one of its own."""
        return None

    def fingerprints(self) -> NDArray[np.int64] | None:
        """A number for each file, the same for files of the same content and hardly ever for others; None: not known."""
        return None


class FolderStore(Store):
    """Files of a folder. An extra of the file a/b.xyz is the array in a/b.EXTRA.npy."""

    def __init__(self, root: str, names: Sequence[bytes]) -> None:
        self.root = root
        self.names = Names.of(names)

    def file(self, index: int) -> File:
        """The absolute path. Whether there is such a file is for readers to find out."""
        return self.describe(index)

    def extra(self, index: int, name: str) -> Tensor:
        """The array in the file beside. Raises BadSample."""
        path = f"{os.path.splitext(self.describe(index))[0]}.{name}.npy"
        return read_array(Content(path, read_content(path)))

    def describe(self, index: int) -> str:
        """The absolute path."""
        return os.path.join(self.root, os.fsdecode(self.names[index]))

    def path(self, index: int) -> str:
        """The absolute path."""
        return self.describe(index)

    def num_bytes(self) -> int:
        """The sizes of all files that there are."""
        return sum(map(self._size, range(len(self))))

    def _size(self, index: int) -> int:
        try:
            return os.stat(self.describe(index)).st_size
        except (OSError, ValueError):
            return 0


class Selection(Store):
    """Some files of another store, in an order of their own."""

    def __init__(self, store: Store, indices: Sequence[int]) -> None:
        self._store = store
        self._indices = np.asarray(indices, dtype=np.int64)
        self.names = Names.of([store.names[index] for index in indices])
        self.extras = store.extras

    def file(self, index: int) -> File:
        """See `Store.file`."""
        return self._store.file(int(self._indices[index]))

    def extra(self, index: int, name: str) -> Tensor:
        """See `Store.extra`."""
        return self._store.extra(int(self._indices[index]), name)

    def describe(self, index: int) -> str:
        """See `Store.describe`."""
        return self._store.describe(int(self._indices[index]))

    def num_bytes(self) -> int:
        """About: those of the other store, by the share of its files that are taken."""
        return self._store.num_bytes() * len(self) // len(self._store)

    def fingerprints(self) -> NDArray[np.int64] | None:
        """See `Store.fingerprints`."""
        found = self._store.fingerprints()
        return None if found is None else found[self._indices]


class MemoryStore(Store):
    """The files of another store, read once and kept as they are, encoded, in one array that forked workers share."""

    def __init__(self, store: Store, *, key: str) -> None:
        """Reads all files. `key` is the recipe's that asked for it. Raises ConfigError where they do not fit into memory."""
        self._store = store
        self.names, self.labels, self.extras = store.names, store.labels, store.extras
        _require_memory(store.num_bytes(), key=key)
        sizes = np.zeros(len(store), dtype=np.int64)
        kept = bytearray()
        for index in range(len(store)):
            data = _read(store, index)
            sizes[index] = len(data)
            kept += data
        self._bytes = np.frombuffer(kept, dtype=np.uint8)
        self._ends = sizes.cumsum()

    def file(self, index: int) -> File:
        """The file's bytes. Raises BadSample for a file that could not be read."""
        start = int(self._ends[index - 1]) if index > 0 else 0
        data = self._bytes[start : int(self._ends[index])].tobytes()
        return Content(self.describe(index), data) if data else self._store.file(index)

    def extra(self, index: int, name: str) -> Tensor:
        """See `Store.extra`; read where it lies."""
        return self._store.extra(index, name)

    def describe(self, index: int) -> str:
        """See `Store.describe`."""
        return self._store.describe(index)

    def num_bytes(self) -> int:
        """All that is kept."""
        return len(self._bytes)

    def path(self, index: int) -> str | None:
        """See `Store.path`."""
        return self._store.path(index)

    def fingerprints(self) -> NDArray[np.int64] | None:
        """See `Store.fingerprints`."""
        return self._store.fingerprints()


def _read(store: Store, index: int) -> bytes:
    """What a file holds; nothing where it cannot be read, which is said when the file is asked for."""
    try:
        return read_content(store.file(index))
    except BadSample:
        return b""


def _require_memory(num_bytes: int, *, key: str) -> None:
    """Raise ConfigError if so much does not fit into the memory that is free."""
    free = _free_memory()
    if free is not None and num_bytes > free:
        raise ConfigError(
            f"{key}: the files are {num_bytes / 2**30:.1f} GiB and {free / 2**30:.1f} GiB of memory are free; leave {key} out, "
            "and keep the files on a fast disk, as shards if they are many (`mae shards make`)"
        )


def _free_memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable:")), None)
    except OSError:
        return None
