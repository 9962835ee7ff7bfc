"""Writing files so that a reader, or the next run after a power cut, never meets half of one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mae_registry import MaeError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a binary file that takes the place of `path` when it is complete and on disk.

    Raises MaeError, and leaves `path` as it was, if the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise MaeError(f"cannot write {path}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Make the new name last as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
