"""Writing files: never over what a user wants to keep, and so that no reader ever meets half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
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


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, unless it is gone already. Raises MaeError where that is refused."""
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise MaeError(f"cannot delete {path}: {error.strerror or error}") from error


def require_output(path: Path, *, suffixes: Sequence[str], inputs: Iterable[Path] = (), overwrite: bool = False) -> None:
    """Raise MaeError for a file that a command must not write.

    These are names with another ending than `suffixes`, inputs of the command, files in the folder of a run, and any other
    existing file without `overwrite`.
    """
    if path.suffix.lower() not in suffixes:
        raise MaeError(f"cannot write {path}: the name of the file must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise MaeError(f"cannot write {path}: it is a folder; name a file")
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise MaeError(f"cannot write {path}: it is what the command reads; choose another name")
    run = next((folder for folder in path.absolute().parents if (folder / "config.yaml").is_file()), None)
    if run is not None:
        raise MaeError(f"cannot write {path}: it lies in the folder of the run {run}; choose a place outside of it")
    if path.exists() and not overwrite:
        raise MaeError(f"{path} exists; replace it with --overwrite, or choose another name")


def _sync_folder(folder: Path) -> None:
    """Make the new name last as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
