"""Files in shards: tar archives with an index beside them, from which any file is read by its number."""

import bisect
import itertools
import os
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mae_core.data.arrays import read_array
from mae_core.data.files import Content, reason
from mae_core.data.ranges import CachedRanges, LocalRanges, Ranges, RemoteRanges
from mae_core.data.shard_index import INDEX, MANIFEST, Index, Manifest, Places, checksum
from mae_core.data.stores import Store
from mae_core.interfaces import BadSample
from mae_registry import ConfigError, some_of

T = TypeVar("T")


class ShardStore(Store):
    """The files of a folder of shards, on this machine or at an address that fsspec knows.

    Raises ConfigError, with the `key` of the recipe that says `root`, where shards are missing, truncated, or not those of the
    index.
    """

    def __init__(self, root: str, *, key: str, cache: str | None = None) -> None:
        """`cache`: a folder of this machine, to which shards from elsewhere are copied when they are first read."""
        self._arguments = root, key, cache
        far = RemoteRanges(root, key=key) if is_address(root) else None
        ranges: Ranges = far or LocalRanges(root)
        hint = "; at an address, data must be shards: `mae shards make` writes them" if far else ""
        content = _ask(lambda: ranges.content(MANIFEST), ranges.describe(MANIFEST), key=key, if_missing=hint)
        self._manifest = Manifest.from_json(content, place=ranges.describe(MANIFEST))
        _check_shards(self._manifest, ranges, key=key)
        if far is not None and cache is not None:  # a folder for these very shards: others may take their place one day
            ranges = CachedRanges(far, os.path.join(os.path.abspath(os.path.expanduser(cache)), f"{checksum(content):08x}"))
        self._ranges = ranges
        place = ranges.describe(INDEX)
        index = _ask(lambda: ranges.array(INDEX), place, key=key)
        if checksum(index.data) != self._manifest.checksum:
            raise ConfigError(f"{place} is damaged, or belongs to other shards (its checksum differs); make the shards again")
        self._index = Index.from_array(index, self._manifest, place=place)
        self._ends = list(itertools.accumulate(shard.num_samples for shard in self._manifest.shards))
        self.names, self.labels = self._index.names, self._index.labels
        self.extras = tuple(self._manifest.extras)

    def file(self, index: int) -> Content:
        """The file's bytes. Raises BadSample where they are not those that were put there."""
        return self._content(index, self._index.places, self.describe(index))

    def extra(self, index: int, name: str) -> Tensor:
        """The array that was stored with the file. Raises BadSample."""
        return read_array(self._content(index, self._index.extras[name], f"{self.describe(index)}, its extra {name}"))

    def describe(self, index: int) -> str:
        """The path of the shard and, after a colon, the name of the file."""
        return f"{self._ranges.describe(self._shard(index))}:{os.fsdecode(self.names[index])}"

    def num_bytes(self) -> int:
        """See `Store.num_bytes`."""
        return int(self._index.places.sizes.sum())

    def fingerprints(self) -> NDArray[np.int64]:
        """See `Store.fingerprints`: the size and the checksum of each file."""
        return (self._index.places.sizes << 32) | self._index.places.checksums.astype(np.int64)

    def _shard(self, index: int) -> str:
        return self._manifest.shards[bisect.bisect_right(self._ends, index)].name

    def _content(self, index: int, places: Places, name: str) -> Content:
        size = int(places.sizes[index])
        try:
            data = self._ranges.read(self._shard(index), int(places.offsets[index]), size)
        except OSError as error:
            raise BadSample(f"{name}: the shard cannot be read: {reason(error)}") from error
        if len(data) < size:
            raise BadSample(f"{name}: the shard is truncated: it ends {size - len(data)} bytes before the end of this file")
        if checksum(data) != int(places.checksums[index]):
            raise BadSample(f"{name}: the shard is damaged: the checksum of this file is not the one in {INDEX}")
        return Content(name, data)

    def __reduce__(self) -> tuple[Callable[..., "ShardStore"], tuple[str, str, str | None]]:
        return _reopen, self._arguments


def is_address(root: str) -> bool:
    """Whether these are data elsewhere, for fsspec to reach."""
    return "://" in root


def _reopen(root: str, key: str, cache: str | None) -> ShardStore:
    return ShardStore(root, key=key, cache=cache)


def _ask(read: Callable[[], T], place: str, *, key: str, if_missing: str = "") -> T:
    try:
        return read()
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped into memory
        hint = if_missing if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{key}: {place} cannot be read: {reason(error)}{hint}") from error


def _check_shards(manifest: Manifest, ranges: Ranges, *, key: str) -> None:
    """Raise ConfigError for shards that are missing, or of another size than the manifest says."""
    sizes = _ask(ranges.sizes, ranges.root, key=key)
    if sizes is None:
        return
    if missing := [shard.name for shard in manifest.shards if shard.name not in sizes]:
        raise ConfigError(
            f"{key}: {len(missing)} of {len(manifest.shards)} shards are missing in {ranges.root}: {some_of(missing)}; "
            "copy them there, or make the shards again"
        )
    for shard in manifest.shards:
        if sizes[shard.name] != shard.num_bytes:
            raise ConfigError(
                f"{key}: the shard {ranges.describe(shard.name)} has {sizes[shard.name]:,} bytes, and {MANIFEST} says "
                f"{shard.num_bytes:,}: it is truncated or another one; copy it again, or make the shards again"
            )
