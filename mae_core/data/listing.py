"""Which files there are in a folder."""

import os
from collections import Counter
from collections.abc import Sequence

from mae_registry import ConfigError


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
