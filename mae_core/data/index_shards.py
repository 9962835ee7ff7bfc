"""An index for tar archives of others, as webdataset reads them; and a check of shards against their index."""

import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import torch

from mae_core.data.files import one_line
from mae_core.data.shard_index import INDEX, MANIFEST, Index, Manifest, Places, Shard, checksum, is_safe
from mae_core.data.shard_store import ShardStore
from mae_core.data.stores import Names
from mae_core.files import write_atomically
from mae_core.interfaces import BadSample, Labels
from mae_registry import MaeError, some_of

LABEL_SUFFIX = ".cls"
MAX_LABELS = 2**24
"""Each number below the largest one gets a name."""
LONGEST_LABEL = 64
"""In bytes; a number has fewer."""


@dataclass
class _Found:
    """The samples of all archives so far."""

    names: list[bytes] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)


def index_shards(
    folder: str,
    *,
    suffixes: Sequence[str],
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """Write shards.json and index.safetensors beside the tar archives in a folder, which stay as they are.

    A sample is every member with one of these suffixes; its label is the number in the member with the suffix .cls of the same
    key, if all samples have one. Classes are named by their numbers, with zeros before them. Raises MaeError for archives that
    are damaged, hold links or names that lead out of a folder, and for a folder without samples.
    """
    archives = sorted(name for name in _list(folder) if name.endswith(".tar") and not name.startswith("."))
    if not archives:
        raise MaeError(f"{folder} contains no .tar files")
    if os.path.exists(os.path.join(folder, MANIFEST)) and not overwrite:
        raise MaeError(f"{folder} already has {MANIFEST}; replace it with --overwrite")
    found, shards = _Found(), list[Shard]()
    for number, name in enumerate(archives):
        path = os.path.join(folder, name)
        before = len(found.names)
        _scan(path, suffixes, found)
        shards.append(Shard(name, len(found.names) - before, os.path.getsize(path)))
        progress(number + 1, len(archives))
    if not found.names:
        raise MaeError(f"the archives in {folder} hold no file whose name ends in {' or '.join(suffixes)}")
    labels = _labels(found, folder)
    offsets, sizes, checksums = np.array(found.places, dtype=np.int64).T
    places = Places(offsets.copy(), sizes.copy(), checksums.astype(np.uint32))
    index = Index(Names.of(found.names), places, labels=labels).to_bytes()
    manifest = Manifest(shards, checksum(index), None if labels is None else labels.names)
    write_atomically(Path(folder, INDEX), lambda file: file.write(index))
    write_atomically(Path(folder, MANIFEST), lambda file: file.write(manifest.to_json()))
    return manifest


def check_shards(store: ShardStore, *, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Read every file, and every array that belongs to one. Returns what is wrong with those that are damaged."""
    problems: list[str] = []
    for index in range(len(store)):
        try:
            store.file(index)
            for name in store.extras or ():
                store.extra(index, name)
        except BadSample as error:
            problems.append(str(error))
        progress(index + 1, len(store))
    return problems


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise MaeError(f"{folder} cannot be listed: {error.strerror}") from error


def _scan(path: str, suffixes: Sequence[str], found: _Found) -> None:
    """Add the samples of one archive."""
    files: dict[str, tuple[bytes, tuple[int, int, int]]] = {}
    labels: dict[str, int] = {}
    try:
        with open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in _members(archive, path):
                raw.seek(member.offset_data)
                key, suffix = _split(member.name)
                if suffix == LABEL_SUFFIX:
                    labels[key] = _label(raw, member, path)
                elif suffix.lower().endswith(tuple(suffixes)):
                    if key in files:
                        raise MaeError(f"{path}: {member.name} is the second file of the key {key}; keep one of them")
                    place = member.offset_data, member.size, _checksum(raw, member)
                    files[key] = os.fsencode(member.name), place
            _require_end(raw, archive)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        if isinstance(error, MaeError):
            raise
        raise MaeError(f"{path} is no archive that can be read to its end: {one_line(error)}") from error
    for key, (name, place) in files.items():
        found.names.append(name)
        found.places.append(place)
        found.labels.append(labels.get(key))


def _members(archive: tarfile.TarFile, path: str) -> Iterator[tarfile.TarInfo]:
    """Files of the archive. Raises MaeError for links, devices, and names that lead out of a folder."""
    while (member := archive.next()) is not None:
        if not is_safe(os.fsencode(member.name)):
            raise MaeError(f"{path}: the name of its member {member.name!r} leads out of the folder; such archives are refused")
        if member.isdir():
            continue
        if not member.isfile() or member.issparse():
            raise MaeError(f"{path}: its member {member.name!r} is not an ordinary file; such archives are refused")
        yield member


def _checksum(raw: IO[bytes], member: tarfile.TarInfo) -> int:
    """Of one member, whose end must be in the file."""
    data = raw.read(member.size)
    if len(data) < member.size:
        raise EOFError(f"it ends within {member.name}")
    return checksum(data)


def _label(raw: IO[bytes], member: tarfile.TarInfo, path: str) -> int:
    """The number that a member holds, whose end must be in the file."""
    text = raw.read(min(member.size, LONGEST_LABEL))
    if len(text) < min(member.size, LONGEST_LABEL):
        raise EOFError(f"it ends within {member.name}")
    found = text.strip()
    if not found.isdigit() or int(found) >= MAX_LABELS or member.size > LONGEST_LABEL:
        raise MaeError(
            f"{path}: its member {member.name!r} holds {os.fsdecode(found)!r}, and a label is a whole number from 0 to "
            f"{MAX_LABELS - 1:,}; correct it, or leave the {LABEL_SUFFIX} files out of the archives"
        )
    return int(found)


def _require_end(raw: IO[bytes], archive: tarfile.TarFile) -> None:
    """Raise EOFError unless an empty block ends the archive: one that was cut between two members has none."""
    raw.seek(archive.offset)
    if raw.read(tarfile.BLOCKSIZE) != b"\0" * tarfile.BLOCKSIZE:
        raise EOFError("it has no end")


def _split(name: str) -> tuple[str, str]:
    """The key of a member, and what follows the first dot of its last part, with the dot."""
    folder, _, last = name.rpartition("/")
    stem, dot, suffix = last.partition(".")
    return os.path.join(folder, stem), dot + suffix


def _labels(found: _Found, folder: str) -> Labels | None:
    known = [label for label in found.labels if label is not None]
    if not known:
        return None
    if len(known) < len(found.labels):
        lacking = [os.fsdecode(name) for name, label in zip(found.names, found.labels, strict=True) if label is None]
        raise MaeError(f"{folder}: {len(lacking):,} of {len(found.names):,} samples have no label: {some_of(lacking)}")
    width = len(str(max(known)))
    return Labels(tuple(f"{number:0{width}d}" for number in range(max(known) + 1)), torch.tensor(known, dtype=torch.int64))
