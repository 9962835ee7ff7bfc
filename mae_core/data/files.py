"""One file of data, before anything reads it."""

import os
import stat

from mae_core.interfaces import BadSample


def require_content(path: str | os.PathLike[str]) -> str:
    """The path as text. Raises BadSample unless it leads to a regular file that is not empty.

    To be asked before a file is opened: opening a named pipe would wait for ever.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        raise BadSample(f"{name}: the file cannot be read: {_reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise BadSample(f"{name}: the file cannot be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise BadSample(f"{name}: the file cannot be read: it is a device, a pipe or a socket instead of a regular file")
    if status.st_size == 0:
        raise BadSample(f"{name}: the file is empty")
    return name


def read_content(path: str | os.PathLike[str]) -> bytes:
    """All that a file holds. Raises BadSample if it cannot be read, or holds nothing."""
    name = require_content(path)
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadSample(f"{name}: the file cannot be read: {_reason(error)}") from error


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or one_line(error)
