"""Shards of a folder, for tests that read them."""

from pathlib import Path

from mae_core.data.folders import open_files
from mae_core.data.make_shards import make_shards
from mae_core.data.shard_writer import open_output
from mae_core.interfaces import Modality


def in_shards(folder: Path, output: Path, modality: Modality, *, labels: str | None = None) -> str:
    """Pack the files of a folder; returns where the shards are."""
    opened = open_files(str(folder), labels, None, suffixes=modality.file_suffixes, what="files", key="DATA")
    make_shards(opened.store, open_output(str(output)), labels=opened.labels, shard_bytes=2**16)
    return str(output)
