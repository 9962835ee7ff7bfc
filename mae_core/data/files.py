"""One file of data, before anything reads it: a path, or what a store holds of it."""

import errno
import io
import os
import stat
from dataclasses import dataclass, field
from typing import BinaryIO

from mae_core.interfaces import BadSample


@dataclass(frozen=True)
class Content:
    """A file that is in memory already."""

    name: str
    """What a person would call it, for messages; it ends as the file's own name does."""
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


File = str | os.PathLike[str] | Content
"""What readers are given."""


def name_of(file: File) -> str:
    """What to call a file in messages; its path, if it has one."""
    return file.name if isinstance(file, Content) else os.fspath(file)


def require_content(file: File) -> str:
    """The file's name. Raises BadSample unless it is in memory or a regular file, and not empty.

    To be asked before a file is opened: opening a named pipe would wait for ever.
    """
    if isinstance(file, Content):
        if not file.data:
            raise BadSample(f"{file.name}: the file is empty")
        return file.name
    name = os.fspath(file)
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        raise BadSample(f"{name}: the file cannot be read: {reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise BadSample(f"{name}: the file cannot be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise BadSample(f"{name}: the file cannot be read: it is a device, a pipe or a socket instead of a regular file")
    if status.st_size == 0:
        raise BadSample(f"{name}: the file is empty")
    return name


def read_content(file: File) -> bytes:
    """All that a file holds. Raises BadSample if it cannot be read, or holds nothing."""
    name = require_content(file)
    if isinstance(file, Content):
        return file.data
    try:
        with open(name, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise BadSample(f"{name}: the file cannot be read: {reason(error)}") from error


def open_content(file: File) -> BinaryIO:
    """The file, opened. Raises OSError."""
    return io.BytesIO(file.data) if isinstance(file, Content) else open(file, "rb")


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def reason(error: BaseException) -> str:
    """Why something could not be read or written, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):  # clients of other storage say its name alone
        return os.strerror(errno.ENOENT)
    return one_line(error)
