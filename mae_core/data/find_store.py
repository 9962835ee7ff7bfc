"""What a recipe says of files -> where they lie."""

import os
from collections.abc import Sequence

from mae_core.data.listing import absolute, list_files
from mae_core.data.parquet_store import SUFFIX, ParquetStore, parquet_files
from mae_core.data.shard_index import MANIFEST
from mae_core.data.shard_store import ShardStore, is_address
from mae_core.data.stores import FolderStore, Store
from mae_registry import ConfigError

FIRST_SHARD = "000000.tar"


def find_store(
    root: str | None,
    *,
    suffixes: Sequence[str],
    key: str,
    what: str,
    split: str | None = None,
    column: str | None = None,
    cache: str | None = None,
) -> Store:
    """The files at `root`: a folder of shards, here or at an address; Parquet files; or a folder of files with these suffixes.

    Args:
        root: a folder, an address, a Parquet file, or a pattern of Parquet files.
        key: of the dataset in the recipe, for messages; `what`: the plural of what one file is, likewise.
        split: of Parquet files, which of them are taken.
        column: of Parquet files, the labels.
        cache: of shards elsewhere, the folder that they are copied to.
    """
    if root is not None and is_address(root):
        if root.endswith(SUFFIX):
            raise ConfigError(f"{key}.root: {root}: Parquet files are read from this machine alone; download them first")
        return ShardStore(root, key=f"{key}.root", cache=cache)
    place = absolute(root, key=f"{key}.root", what=f"a folder of {what}")
    if cache is not None:
        raise ConfigError(f"{key}.cache={cache}: a cache is for data elsewhere, and {place} is on this machine; leave it out")
    if is_shards(place):
        return ShardStore(place, key=f"{key}.root")
    if os.path.isfile(os.path.join(place, FIRST_SHARD)):
        raise ConfigError(
            f"{key}.root: {place} holds shards but no {MANIFEST}, which is written last: making them did not end; make them "
            "again with --overwrite, or index those of others with `mae shards index`"
        )
    if place.endswith(SUFFIX) or is_parquet(place, suffixes):
        return ParquetStore(parquet_files(place, split, key=key), label=column, key=key)
    return FolderStore(place, list_files(place, suffixes=suffixes, key=f"{key}.root", what=what))


def is_shards(root: str) -> bool:
    """Whether these are shards: an address, or a folder with the file that is written when shards are complete."""
    return is_address(root) or os.path.isfile(os.path.join(os.path.expanduser(root), MANIFEST))


def is_parquet(folder: str, suffixes: Sequence[str]) -> bool:
    """Whether a folder, or the folders in it, hold Parquet files, and no files with these suffixes."""
    found = False
    pending = [folder]
    for place in pending:
        try:
            with os.scandir(place) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
        except (OSError, ValueError):  # which the list of files says
            return False
        if any(entry.name.lower().endswith(tuple(suffixes)) for entry in shown):
            return False
        found = found or any(entry.name.endswith(SUFFIX) for entry in shown)
        if place == folder:
            pending += sorted(entry.path for entry in shown if entry.is_dir())
    return found
