"""What is wrong with labelled data, said before anything is trained on them."""

import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mae_core.data.files import read_content
from mae_core.data.folders import FileFolder
from mae_core.interfaces import BadSample, Dataset, Labels
from mae_registry import MaeError, some_of

MAX_SIZES = 200_000
"""Where there are more files, contents are not compared: to ask for the sizes of a million takes long on a network."""
MAX_READ = 100_000
"""Files of equal sizes that are opened, at most, to compare their contents."""
HEAD = 2**16
"""Bytes that are compared before whole files are."""
CHUNK = 2**20
COPIES = "copies of files that are trained on, with the same content"
NUM_SHOWN = 3
"""How many files a message names."""


def check_data(train: Dataset, held_out: Dataset) -> list[str]:
    """Check that a classifier can be trained on `train` and measured on `held_out`. Returns sentences on what was not checked.

    Raises MaeError where the classes are fewer than two, differ, or have no samples on one side; where a CSV file lists a file
    that does not exist, or one twice; and where a held-out file is also trained on, as the same file or as a copy of it.
    """
    check_classes(train, held_out)
    folders = [dataset for dataset in (train, held_out) if isinstance(dataset, FileFolder)]
    places = [_real_places(folder) for folder in folders]
    if len(folders) < 2:
        return []
    pairs = [(index, places[1][real]) for real, index in places[0].items() if real in places[1]]
    _refuse_leak(folders, pairs, "the same as files that are trained on")
    known = [folder.store.fingerprints() for folder in folders]
    if known[0] is not None and known[1] is not None:
        _refuse_leak(folders, _alike(folders, known[0], known[1]), COPIES)
        return []
    if any(folder.store.path(0) is None for folder in folders):
        return ["copies among the held-out files were not looked for: not all data are files of their own"]
    if len(train) + len(held_out) > MAX_SIZES:
        return [f"copies among the held-out files were not looked for: there are more than {MAX_SIZES:,} files"]
    pairs, num_unread = _copies(*places)
    _refuse_leak(folders, pairs, COPIES)
    return [f"{num_unread:,} files were not compared with files of equal sizes, to save time"] if num_unread else []


def check_classes(train: Dataset, held_out: Dataset) -> None:
    """Raise MaeError unless both have samples of the same classes, which are two or more."""
    named = {"training": (train, _labels(train)), "held-out": (held_out, _labels(held_out))}
    (_, first), (_, second) = named.values()
    if first.several != second.several:
        several = next(what for what, (_, labels) in named.items() if labels.several)
        raise MaeError(
            f"among the {several} data are samples with several labels, among the others there are none; "
            "list both in one CSV file, with the columns path,label,split"
        )
    names = sorted({*first.names, *second.names})
    if len(names) < 2:
        raise MaeError(f"all samples are of one class, {names[0]} ({train.describe(0)}); a classifier needs two or more")
    problems = [
        f"the {what} data ({dataset.describe(0)}, ...) have no sample of the class {some_of(lacking)}"
        for what, (dataset, labels) in named.items()
        if (lacking := _lacking(labels, names))
    ]
    if problems:
        raise MaeError(f"{'; '.join(problems)}; both need samples of every class: add some, or leave the class out of both")


def _labels(dataset: Dataset) -> Labels:
    if dataset.labels is None:
        raise MaeError(
            f"the samples have no labels ({dataset.describe(0)}); in the section of their dataset, set labels to folders "
            "or to the path of a CSV file"
        )
    return dataset.labels


def _lacking(labels: Labels, names: Sequence[str]) -> list[str]:
    """Those of the classes that have no sample."""
    counts = dict(zip(labels.names, labels.counts().tolist(), strict=True))
    return [name for name in names if counts.get(name, 0) == 0]


def _real_places(folder: FileFolder) -> dict[str, int]:
    """The number of each file by its path without symbolic links. Raises MaeError for what a CSV file should not list."""
    places: dict[str, int] = {}
    missing: list[int] = []
    again: list[int] = []
    for index, real in _real_paths(folder):
        if real is None:
            missing.append(index)
        elif places.setdefault(real, index) != index:
            again += [places[real], index]
    if missing:
        shown = "; ".join(folder.listed(missing[:NUM_SHOWN]))
        raise MaeError(f"{len(missing):,} of {len(folder):,} files do not exist: {shown}{_more(missing)}")
    if again and folder.table is not None:
        shown = "; ".join(folder.listed(again[: 2 * NUM_SHOWN]))
        raise MaeError(
            f"files are listed twice ({len(again) // 2:,} of {len(folder):,}): {shown}{_more(again[::2])}; "
            "keep one line of each"
        )
    return places


def _real_paths(folder: FileFolder) -> Iterator[tuple[int, str | None]]:
    """The number of each file and its path without symbolic links; None where there is no such file.

    What has no path of its own is what it is called.

    Folders are listed, rather than each file asked for.
    """
    by_directory: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for index in range(len(folder)):
        path = folder.store.path(index)
        if path is None:
            yield index, folder.describe(index)
            continue
        directory, name = os.path.split(path)
        by_directory[directory].append((name, index))
    for directory, files in by_directory.items():
        ordinary = _ordinary_files(directory)
        real = os.path.realpath(directory)
        for name, index in files:
            if name in ordinary:
                yield index, os.path.join(real, name)
            else:  # a link, or a name that the file system knows in another spelling
                path = os.path.join(directory, name)
                yield index, os.path.realpath(path) if os.path.isfile(path) else None


def _ordinary_files(directory: str) -> set[str]:
    """Names of what are regular files and no links."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    except OSError:
        return set()


def _refuse_leak(folders: Sequence[FileFolder], pairs: Sequence[tuple[int, int]], what: str) -> None:
    """Raise MaeError if there are pairs of a training and a held-out file."""
    if not pairs:
        return
    train, held_out = folders
    firsts = train.listed([index for index, _ in pairs[:NUM_SHOWN]])
    seconds = held_out.listed([index for _, index in pairs[:NUM_SHOWN]])
    shown = "; ".join(f"{second} is {first}" for first, second in zip(firsts, seconds, strict=True))
    raise MaeError(
        f"held-out files are {what} ({len(pairs):,} of {len(held_out):,}): {shown}{_more(pairs)}; "
        "results on them say nothing of new data: take them out of one side"
    )


def _alike(folders: Sequence[FileFolder], firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of a training and a held-out file with the same content, by their fingerprints and then by what they hold."""
    common = set(np.intersect1d(firsts, seconds).tolist())
    numbers = {found: index for index, found in enumerate(firsts.tolist()) if found in common}
    pairs = [(numbers[found], index) for index, found in enumerate(seconds.tolist()) if found in numbers]
    return [pair for pair in pairs if len({_content(folder, index) for folder, index in zip(folders, pair, strict=True)}) == 1]


def _content(folder: FileFolder, index: int) -> bytes | str:
    """What a file holds; its own name where it cannot be read."""
    try:
        return read_content(folder.file(index))
    except BadSample:
        return folder.describe(index)


def _copies(train: Mapping[str, int], held_out: Mapping[str, int]) -> tuple[list[tuple[int, int]], int]:
    """Pairs of a training and a held-out file with the same content; and how many files were left out to save time.

    Files are opened only where sizes agree, and read as a whole only where their beginnings agree.
    """
    first_sizes, second_sizes = _by_size(train), _by_size(held_out)
    pairs: list[tuple[int, int]] = []
    num_read = num_unread = 0
    for size in sorted(first_sizes.keys() & second_sizes.keys()):
        sides = first_sizes[size], second_sizes[size]
        num_files = sum(map(len, sides))
        if num_read + num_files > MAX_READ:
            num_unread += num_files
            continue
        num_read += num_files
        for alike in _same_content(*sides, num_bytes=HEAD):
            for firsts, seconds in [alike] if size <= HEAD else _same_content(*alike, num_bytes=size):
                pairs += [(train[firsts[0]], held_out[path]) for path in seconds]
    return sorted(pairs), num_unread


def _by_size(paths: Iterable[str]) -> dict[int, list[str]]:
    """Files that are not empty. Those that cannot be read are for training to tell of, as all bad samples are."""
    groups: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        with contextlib.suppress(OSError):
            groups[os.stat(path).st_size].append(path)
    groups.pop(0, None)
    return groups


def _same_content(
    firsts: Sequence[str], seconds: Sequence[str], *, num_bytes: int
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Files of the two sides whose first bytes are the same."""
    groups: tuple[dict[bytes, list[str]], ...] = defaultdict(list), defaultdict(list)
    for group, paths in zip(groups, (firsts, seconds), strict=True):
        for path in paths:
            with contextlib.suppress(OSError):
                group[_digest(path, num_bytes)].append(path)
    for digest, paths in groups[0].items():
        if digest in groups[1]:
            yield paths, groups[1][digest]


def _digest(path: str, num_bytes: int) -> bytes:
    found = hashlib.blake2b(digest_size=32)
    with open(path, "rb", buffering=0) as file:
        while num_bytes > 0 and (part := file.read(min(num_bytes, CHUNK))):
            found.update(part)
            num_bytes -= len(part)
    return found.digest()


def _more(items: Sequence[object]) -> str:
    """The end of a list of which only the first are shown."""
    return f"; and {len(items) - NUM_SHOWN:,} more" if len(items) > NUM_SHOWN else ""
