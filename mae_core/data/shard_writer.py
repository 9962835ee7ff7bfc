"""Writing shards: tar archives as webdataset reads them, with the index that says where each file is."""

import io
import os
import re
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote_from_bytes

import numpy as np
import torch

from mae_core.data.files import reason
from mae_core.data.ranges import connect, list_folder
from mae_core.data.shard_index import INDEX, MANIFEST, Index, Manifest, Places, Shard, checksum, unsafe_name
from mae_core.data.shard_store import is_address
from mae_core.data.stores import Names
from mae_core.files import write_atomically
from mae_core.interfaces import Labels
from mae_registry import MaeError

SKIPPED = "skipped.csv"
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs")
"""Kinds of addresses whose first part is a bucket."""
SAFE = "/ !#$&'()+,-:;=@[]^_{}~"
"""What stays as it is in the names of tar members, beside letters and digits. Dots do not: webdataset takes what follows the
first one for the kind of a file."""
_ABOUT = "|".join(map(re.escape, (MANIFEST, INDEX, SKIPPED)))
_OURS = re.compile(rf"{_ABOUT}|\d{{6,}}\.tar|\.\d{{6,}}\.\w+\.partial|\.({_ABOUT})\.\w+", re.ASCII)
"""The names of all files that shards are made of, then of those that a kill leaves behind while they are written."""

T = TypeVar("T")


class Output(ABC):
    """The folder that shards are written to. Whatever fails raises MaeError."""

    workspace: str | None = None
    """A folder of this machine for files that are not complete; None: the system's own."""

    def __init__(self, root: str) -> None:
        self.root = root

    @abstractmethod
    def names(self) -> list[str]:
        """Of the files that are there."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """A whole file, or nothing."""

    @abstractmethod
    def take(self, name: str, path: str) -> None:
        """A file of this machine, which is gone afterwards."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """A file."""

    def clear(self, *, overwrite: bool) -> None:
        """Make room for shards. Raises MaeError where something is there, unless told to delete shards; nothing else is."""
        found = self.names()
        ours = [name for name in found if _is_ours(name)]
        if len(ours) < len(found):
            others = next(name for name in found if not _is_ours(name))
            raise MaeError(f"{self.root} holds other files than shards ({others}); choose a folder of their own for shards")
        if ours and not overwrite:
            raise MaeError(f"{self.root} already holds shards; replace them with --overwrite, or choose another folder")
        for name in sorted(ours, key=lambda name: name != MANIFEST):  # that first: without it, nothing looks complete
            self.remove(name)


class LocalOutput(Output):
    """A folder of this machine."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.workspace = root

    def names(self) -> list[str]:
        """See `Output.names`."""
        try:
            os.makedirs(self.root, exist_ok=True)
            return os.listdir(self.root)
        except OSError as error:
            raise MaeError(f"{self.root} cannot be written to: {reason(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """See `Output.write`."""
        write_atomically(Path(self.root, name), lambda file: file.write(content))

    def take(self, name: str, path: str) -> None:
        """See `Output.take`."""
        os.chmod(path, 0o644)
        os.replace(path, os.path.join(self.root, name))

    def remove(self, name: str) -> None:
        """See `Output.remove`."""
        os.unlink(os.path.join(self.root, name))


class RemoteOutput(Output):
    """An address that fsspec knows how to write to."""

    def __init__(self, root: str) -> None:
        self._files, self._folder = connect(root)
        super().__init__(root.rstrip("/"))

    def names(self) -> list[str]:
        """See `Output.names`."""
        try:
            found = list_folder(self._files, self._folder)
        except FileNotFoundError:
            self._make_folder()
            return []
        except Exception as error:
            raise MaeError(f"{self.root} cannot be listed: {reason(error)}") from error
        return [os.path.basename(entry["name"].rstrip("/")) for entry in found]

    def write(self, name: str, content: bytes) -> None:
        """See `Output.write`."""
        self._do(lambda: self._files.pipe_file(f"{self._folder}/{name}", content))

    def take(self, name: str, path: str) -> None:
        """See `Output.take`."""
        self._do(lambda: self._files.put_file(path, f"{self._folder}/{name}"))
        os.unlink(path)

    def remove(self, name: str) -> None:
        """See `Output.remove`."""
        self._do(lambda: self._files.rm_file(f"{self._folder}/{name}"))

    def _make_folder(self) -> None:
        """Object stores have buckets instead of folders. Clients would make one, and a typing error should not."""
        bucket = self._folder.partition("/")[0]
        if self.root.partition("://")[0] not in OBJECT_STORES:
            self._do(lambda: self._files.makedirs(self._folder, exist_ok=True))
        elif not self._do(lambda: self._files.exists(bucket)):
            raise MaeError(f"{self.root} cannot be written to: there is no bucket {bucket}; make it first, or correct its name")

    def _do(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except Exception as error:  # of any client library
            raise MaeError(f"{self.root} cannot be written to: {reason(error)}") from error


def open_output(root: str) -> Output:
    """The folder or address."""
    return RemoteOutput(root) if is_address(root) else LocalOutput(os.path.abspath(os.path.expanduser(root)))


def _is_ours(name: str) -> bool:
    """Whether shards are made of such files, complete or not."""
    return _OURS.fullmatch(name) is not None


@dataclass
class _Entries:
    """What an index says of one kind of file, as it grows."""

    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)

    def places(self) -> Places:
        return Places(
            np.array(self.offsets, dtype=np.int64),
            np.array(self.sizes, dtype=np.int64),
            np.array(self.checksums, dtype=np.uint32),
        )


class ShardWriter:
    """Writes samples one after the other; `finish` makes shards of them. Until then nothing looks complete."""

    def __init__(self, output: Output, *, shard_bytes: int, labels: Labels | None, extras: Sequence[str]) -> None:
        """`labels`: of all samples that may be added; `shard_bytes`: about how large a shard is."""
        self._output, self._shard_bytes, self._labels = output, shard_bytes, labels
        self._entries, self._extras = _Entries(), {name: _Entries() for name in extras}
        self._names: list[bytes] = []
        self._rows: list[int] = []
        self._keys: set[int] = set()
        self._shards: list[Shard] = []
        self._file: io.BufferedWriter | None = None
        self._num_samples = 0

    def add(self, row: int, name: bytes, suffix: str, data: bytes, extras: Mapping[str, bytes]) -> None:
        """One sample: its number among the labels, its name, the suffix and content of its file, and its arrays (.npy)."""
        name = safe_name(name)
        key = self._key(name)
        file = self._open()
        self._member(file, f"{key}{suffix}", data, self._entries)
        for extra, content in extras.items():
            self._member(file, f"{key}.{extra}.npy", content, self._extras[extra])
        if self._labels is not None:
            self._member(file, *_label_member(key, self._labels, row))
        self._names.append(name)
        self._rows.append(row)
        self._num_samples += 1
        if file.tell() >= self._shard_bytes:
            self._close()

    def finish(self, notes: Mapping[str, Any]) -> Manifest:
        """Write what makes the shards complete."""
        self._close()
        labels = self._labels
        if labels is not None:
            labels = Labels(labels.names, labels.targets[torch.tensor(self._rows, dtype=torch.int64)])
        extras = {name: entries.places() for name, entries in self._extras.items()}
        index = Index(Names.of(self._names), self._entries.places(), extras, labels).to_bytes()
        classes = None if labels is None else list(labels.names)
        manifest = Manifest(self._shards, checksum(index), classes, tuple(self._extras), notes)
        self._output.write(INDEX, index)
        self._output.write(MANIFEST, manifest.to_json())
        return manifest

    def discard(self) -> None:
        """Forget the shard that is being written."""
        if self._file is not None:
            self._file.close()
            os.unlink(self._file.name)
            self._file = None

    def _open(self) -> io.BufferedWriter:
        if self._file is None:
            prefix = f".{len(self._shards):06d}."
            descriptor, path = tempfile.mkstemp(dir=self._output.workspace, prefix=prefix, suffix=".partial")
            os.close(descriptor)
            self._file = open(path, "wb")  # noqa: SIM115 - `_close` or `discard` ends it
        return self._file

    def _close(self) -> None:
        """End the shard that is being written, and put it where it belongs."""
        if self._file is None:
            return
        self._file.write(b"\0" * (2 * tarfile.BLOCKSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        name = f"{len(self._shards):06d}.tar"
        self._output.take(name, self._file.name)
        self._file = None
        self._shards.append(Shard(name, self._num_samples, size))
        self._num_samples = 0

    def _member(self, file: io.BufferedWriter, name: str, data: bytes, entries: _Entries | None = None) -> None:
        about = tarfile.TarInfo(name)
        about.size, about.mode = len(data), 0o644
        file.write(about.tobuf(tarfile.PAX_FORMAT))
        if entries is not None:
            entries.offsets.append(file.tell())
            entries.sizes.append(len(data))
            entries.checksums.append(checksum(data))
        file.write(data)
        file.write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))

    def _key(self, name: bytes) -> str:
        """What the members of one sample have in common: the name without its suffix; with it where that is taken."""
        stem = os.path.splitext(name)[0]
        for text in (stem, name, b"%s.%d" % (name, len(self._names))):
            folder, found, last = text.rpartition(b"/")
            quoted = quote_from_bytes(last, safe=SAFE).replace(".", "%2E")
            key = f"{quote_from_bytes(folder, safe=SAFE + '.')}{found.decode()}{quoted}"
            if hash(key) not in self._keys:
                break
        self._keys.add(hash(key))
        return key


def safe_name(name: bytes) -> bytes:
    """A path that stays below its folder: without what would lead out of it."""
    if unsafe_name(Names.of([name])) is None:
        return name
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"..")).replace(b"\0", b"")


def _label_member(key: str, labels: Labels, row: int) -> tuple[str, bytes]:
    """The label of a sample as webdataset's readers know it: a number, or as JSON the numbers of several."""
    target = labels.targets[row]
    if labels.several:
        return f"{key}.json", b'{"labels": %s}' % str(target.nonzero()[:, 0].tolist()).encode()
    return f"{key}.cls", str(int(target)).encode()
