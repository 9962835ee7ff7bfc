"""Who may write to a run's folder: one process at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mae_registry import MaeError

LOCK = ".lock"
_held: dict[IO[str], Path] = {}
"""Locks of this process, which a process that it forks must not hold on to when this one is killed, and their folders."""


def _let_go() -> None:
    for file in _held:
        file.close()  # the lock stays with the parent's copy of the file


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def run_lock(folder: Path) -> Generator[None]:
    """Hold the folder against a second process. Raises MaeError if it is held, or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise MaeError(f"cannot write to {folder.absolute()}: {error.strerror}; choose another folder with --out") from error
    with file:
        if not _take(file):
            raise MaeError(f"another process is writing to {folder.absolute()}; wait for it or choose another --out")
        _held[file] = folder
        try:
            yield
        finally:
            del _held[file]


def require_still_locked(folder: Path) -> None:
    """Raise MaeError if this process has locked the folder, and it has been deleted, moved or replaced since then."""
    if any(held == folder and not _is_in_place(file, folder) for file, held in _held.items()):
        raise MaeError(
            f"{folder.absolute()} was deleted, moved or replaced while a run was at work in it. Nothing more is written there; "
            "if it was moved, go on from its new place with --resume"
        )


def _is_in_place(file: IO[str], folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat())
    except OSError:
        return False


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_being_written(folder: Path) -> bool:
    """Whether a process is at work in a run's folder."""
    try:
        with (folder / LOCK).open() as file:
            return not _take(file)
    except OSError:
        return False
