"""Parts of files in one folder, which is on this machine or elsewhere."""

import contextlib
import fcntl
import mmap
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import fsspec
import numpy as np
from numpy.typing import NDArray

from mae_core.data.files import reason
from mae_registry import ConfigError, MaeError

MAX_OPEN = 64
"""Files that a process keeps open at once."""
PAUSES = (0.5, 2.0, 8.0)
"""Seconds to wait before something is asked for again over a network."""
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What asking again does not mend."""
FINAL_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError"})
"""The same of S3's client, which need not be installed."""

T = TypeVar("T")


class Ranges(ABC):
    """Reads any part of the files in a folder. Whatever fails raises OSError."""

    root: str

    @abstractmethod
    def read(self, name: str, start: int, size: int) -> bytes:
        """`size` bytes from `start` on; fewer where the file ends."""

    @abstractmethod
    def content(self, name: str) -> bytes:
        """All of a file."""

    def array(self, name: str) -> NDArray[np.uint8]:
        """All of a large file, which stays on disk where it can."""
        return np.frombuffer(self.content(name), dtype=np.uint8)

    @abstractmethod
    def sizes(self) -> Mapping[str, int] | None:
        """Of the files that there are; None where they cannot be listed, as over HTTP."""

    def describe(self, name: str) -> str:
        """What a person would call a file."""
        return f"{self.root}/{name}"


class LocalRanges(Ranges):
    """Files on this machine. A few stay open; forked processes share them, but no position in them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, name: str, start: int, size: int) -> bytes:
        """See `Ranges.read`."""
        descriptor = self._descriptor(name)
        data = os.pread(descriptor, size, start)
        while 0 < len(data) < size and (more := os.pread(descriptor, size - len(data), start + len(data))):
            data += more  # one call reads 2 GiB at most
        return data

    def content(self, name: str) -> bytes:
        """See `Ranges.content`."""
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()

    def array(self, name: str) -> NDArray[np.uint8]:
        """The file itself, mapped into memory: all processes of the machine share what of it is in use."""
        with open(os.path.join(self.root, name), "rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)

    def sizes(self) -> Mapping[str, int]:
        """See `Ranges.sizes`."""
        with os.scandir(self.root) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def _descriptor(self, name: str) -> int:
        found = self._open.get(name)
        if found is not None:
            self._open.move_to_end(name)
            return found
        while len(self._open) >= MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        self._open[name] = descriptor = os.open(os.path.join(self.root, name), os.O_RDONLY | os.O_CLOEXEC)
        return descriptor

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_open": OrderedDict[str, int]()}

    def __del__(self) -> None:
        for descriptor in self._open.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def connect(address: str) -> tuple[Any, str]:
    """The file system of an address, and the folder in it. Raises MaeError for what is no such address."""
    try:
        files, folder = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MaeError(f"{address} needs another package: {error}") from error
    except Exception as error:
        raise MaeError(f"{address} is not an address that can be reached: {reason(error)}") from error
    if not folder.strip("/"):
        raise MaeError(f"{address} names no folder; give one, as in {address.partition('://')[0]}://bucket/folder")
    return files, folder.rstrip("/")


def list_folder(files: Any, folder: str) -> list[dict[str, Any]]:
    """What is in a folder as it is now: fsspec's `name`, `size` and `type` of each. Raises whatever the client raises."""
    files.invalidate_cache()
    found: list[dict[str, Any]] = files.ls(folder, detail=True)
    # consoles of object stores mark a folder by an empty object of its own name
    return [entry for entry in found if entry["name"].strip("/") != folder.strip("/") or entry["size"]]


class RemoteRanges(Ranges):
    """Files that fsspec knows how to reach: s3://, gs://, https://, memory:// and others. Each read is a request."""

    def __init__(self, root: str, *, key: str) -> None:
        """Raises ConfigError, with the `key` of the recipe that says `root`, where it is no address that fsspec knows."""
        try:
            connect(root)
        except MaeError as error:
            raise ConfigError(f"{key}: {error}") from error
        self.root = root.rstrip("/")

    def read(self, name: str, start: int, size: int) -> bytes:
        """See `Ranges.read`."""
        data = self._ask(lambda files, root: files.cat_file(f"{root}/{name}", start=start, end=start + size))
        if len(data) > size:  # a plain web server answers with all of the file
            raise OSError(
                f"{self.root} does not answer requests for a part of a file; set a cache, to which files are copied whole"
            )
        return data

    def content(self, name: str) -> bytes:
        """See `Ranges.content`."""
        return self._ask(lambda files, root: files.cat_file(f"{root}/{name}"))

    def fetch(self, name: str, path: str) -> None:
        """Copy a file to this machine."""
        self._ask(lambda files, root: files.get_file(f"{root}/{name}", path))

    def sizes(self) -> Mapping[str, int] | None:
        """See `Ranges.sizes`."""
        if self.root.startswith(("http://", "https://")):
            return None
        found = self._ask(list_folder)
        return {os.path.basename(entry["name"]): int(entry["size"] or 0) for entry in found if entry["type"] == "file"}

    def _ask(self, request: Callable[[Any, str], T]) -> T:
        """What fsspec answers; asked again after a while, for networks fail now and then."""
        for pause in (*PAUSES, None):
            try:
                # fsspec keeps one file system a process, and makes a new one after a fork
                return request(*fsspec.core.url_to_fs(self.root))
            except PermissionError as error:
                raise PermissionError(f"{reason(error)}; give the keys of an account that may read it") from error
            except FINAL:
                raise
            except Exception as error:  # of any client library
                if pause is None or type(error).__name__ in FINAL_NAMES:
                    raise OSError(f"{type(error).__name__}: {reason(error)}") from error
                time.sleep(pause)
        raise AssertionError


class CachedRanges(Ranges):
    """Files elsewhere, each copied to a folder of this machine as a whole when it is first asked for."""

    def __init__(self, far: RemoteRanges, folder: str) -> None:
        self.root = far.root
        self._far, self._near = far, LocalRanges(folder)

    def read(self, name: str, start: int, size: int) -> bytes:
        """See `Ranges.read`."""
        self._require(name)
        return self._near.read(name, start, size)

    def content(self, name: str) -> bytes:
        """See `Ranges.content`."""
        self._require(name)
        return self._near.content(name)

    def array(self, name: str) -> NDArray[np.uint8]:
        """See `Ranges.array`."""
        self._require(name)
        return self._near.array(name)

    def sizes(self) -> Mapping[str, int] | None:
        """Of the files elsewhere."""
        return self._far.sizes()

    def _require(self, name: str) -> None:
        """Copy a file unless that was done. Other processes of the machine wait meanwhile, and find it there."""
        path = os.path.join(self._near.root, name)
        if os.path.exists(path):
            return
        os.makedirs(self._near.root, exist_ok=True)
        with open(f"{path}.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.exists(path):
                return
            with tempfile.TemporaryDirectory(dir=self._near.root, prefix=".") as folder:
                self._far.fetch(name, os.path.join(folder, name))
                os.replace(os.path.join(folder, name), path)
