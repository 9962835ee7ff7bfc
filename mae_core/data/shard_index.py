"""What lies beside shards, and says where each file is in them: shards.json and index.safetensors.

docs/data.md describes both for others to read and write.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from mae_core.data.stores import Names
from mae_core.interfaces import Labels
from mae_registry import ConfigError

MANIFEST, INDEX = "shards.json", "index.safetensors"
FORMAT, VERSION = "mae-shards", 1
KIND = "wids-shard-index-v1"
"""What webdataset's own readers with random access look for in a list of shards."""
SUSPICIOUS = re.compile(rb"\.\./|/\.\.|\0")
"""What a name that leads out of its folder contains, but for `..` alone."""
DTYPES = {"I64": np.int64, "U32": np.uint32, "U8": np.uint8}


@dataclass(frozen=True)
class Shard:
    """One tar archive."""

    name: str
    num_samples: int
    num_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of shards.json, which is written last: without it, shards are not complete."""

    shards: Sequence[Shard]
    checksum: int
    """CRC-32 of index.safetensors, which tells one set of shards from another."""
    classes: Sequence[str] | None = None
    """Names of the classes, sorted, if the samples have labels."""
    extras: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What was done to the files, for people."""

    def to_json(self) -> bytes:
        """As it is written."""
        shards = [{"url": s.name, "nsamples": s.num_samples, "filesize": s.num_bytes} for s in self.shards]
        about = {"format": FORMAT, "version": VERSION, "index": INDEX, "index_crc32": self.checksum}
        own = {"classes": self.classes, "extras": list(self.extras), "notes": dict(self.notes)}
        return json.dumps({"__kind__": KIND, "wids_version": 1, "shardlist": shards, **about, **own}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, *, place: str) -> Self:
        """Raises ConfigError, with its `place`, for what is no such file."""
        try:
            read = json.loads(content)
            if read.get("format") != FORMAT:
                raise ConfigError(f"{place} is a list of shards without an index; make one with `mae shards index`")
            if read["version"] != VERSION:
                raise ConfigError(f"{place} is of version {read['version']}; this version of mae reads version {VERSION}")
            shards = [Shard(_plain(s["url"]), int(s["nsamples"]), int(s["filesize"])) for s in read["shardlist"]]
            return cls(shards, int(read["index_crc32"]), read["classes"], tuple(read["extras"]), read["notes"])
        except ConfigError:
            raise
        except Exception as error:  # anything may be in a damaged file
            raise ConfigError(f"{place} is damaged ({type(error).__name__}: {error}); make the shards again") from error


@dataclass(frozen=True)
class Places:
    """Where each of some files begins in its shard, how long it is, and the CRC-32 of its bytes."""

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    checksums: NDArray[np.uint32]

    def tensors(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """By their names in index.safetensors."""
        return {f"{prefix}offsets": self.offsets, f"{prefix}sizes": self.sizes, f"{prefix}checksums": self.checksums}


@dataclass(frozen=True)
class Index:
    """The content of index.safetensors: one entry a sample, in the order of the shards."""

    names: Names
    places: Places
    extras: Mapping[str, Places] = field(default_factory=dict)
    labels: Labels | None = None

    def to_bytes(self) -> bytes:
        """As it is written."""
        tensors = {"names": self.names.text, "name_ends": self.names.ends, **self.places.tensors()}
        for name, places in self.extras.items():
            tensors |= places.tensors(f"extra.{name}.")
        if self.labels is not None:
            targets = self.labels.targets.numpy()
            tensors["labels"] = targets.astype(np.uint8) if self.labels.several else targets
        return save(tensors)

    @classmethod
    def from_array(cls, content: NDArray[np.uint8], manifest: Manifest, *, place: str) -> Self:
        """The parts of a file that is in memory, or mapped into it. Raises ConfigError, with its `place`, if it is damaged."""
        try:
            tensors = _tensors(content)
            names = Names(tensors["names"], tensors["name_ends"])
            extras = {name: _places(tensors, f"extra.{name}.") for name in manifest.extras}
            index = cls(names, _places(tensors, ""), extras, _labels(tensors, manifest))
            index.check(sum(shard.num_samples for shard in manifest.shards))
        except Exception as error:
            raise ConfigError(f"{place} is damaged, or belongs to other shards ({error}); make the shards again") from error
        return index

    def check(self, num_samples: int) -> None:
        """Raise ValueError unless all parts are of so many samples."""
        parts = [part for places in (self.places, *self.extras.values()) for part in vars(places).values()]
        lengths = {len(self.names), *map(len, parts)}
        if self.labels is not None:
            lengths.add(len(self.labels.targets))
        if lengths != {num_samples}:
            raise ValueError(f"it is of {' or '.join(map(str, sorted(lengths)))} samples, and the shards are of {num_samples}")
        if (bad := unsafe_name(self.names)) is not None:
            raise ValueError(f"the name {bad!r} leads out of the folder")


def checksum(data: bytes | memoryview) -> int:
    """CRC-32, as zip archives have it."""
    return zlib.crc32(data)


def unsafe_name(names: Names) -> str | None:
    """A name that is absolute, or leads out of the folder by its dots; None if there is none."""
    lengths = np.diff(names.ends, prepend=0)
    starts = (names.ends - lengths)[lengths > 0]
    is_likely = bool((names.text[starts] == ord("/")).any() or (lengths == 2).any() or SUSPICIOUS.search(names.text.data))
    if not is_likely:  # to look at each of millions takes long
        return None
    return next((name.decode(errors="replace") for name in names if not is_safe(name)), None)


def is_safe(name: bytes) -> bool:
    """Whether a path stays below the folder that it is relative to."""
    return not name.startswith(b"/") and b".." not in name.split(b"/") and b"\0" not in name


def _plain(name: str) -> str:
    """The name of a shard, which lies beside its manifest."""
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise ConfigError(f"the shard {name!r} is not the name of a file beside {MANIFEST}, which it must be")
    return name


def _tensors(content: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, without copying them."""
    header_size = int.from_bytes(content[:8].tobytes(), "little")
    if not 0 < header_size <= len(content) - 8:
        raise ValueError("its header is longer than the file")
    header: dict[str, Any] = json.loads(content[8 : 8 + header_size].tobytes())
    body = content[8 + header_size :]
    found: dict[str, NDArray[Any]] = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            if not 0 <= start <= end <= len(body):
                raise ValueError(f"{name} lies outside of the file")
            found[name] = np.frombuffer(body[start:end], dtype=DTYPES[about["dtype"]]).reshape(about["shape"])
    return found


def _places(tensors: Mapping[str, NDArray[Any]], prefix: str) -> Places:
    offsets, sizes, checksums = (tensors[f"{prefix}{name}"] for name in ("offsets", "sizes", "checksums"))
    if len(sizes) and (int(offsets.min()) < 0 or int(sizes.min()) < 0):
        raise ValueError("it has negative places")
    return Places(offsets, sizes, checksums)


def _labels(tensors: Mapping[str, NDArray[Any]], manifest: Manifest) -> Labels | None:
    if manifest.classes is None:
        return None
    targets = torch.from_numpy(np.array(tensors["labels"]))
    several = targets.ndim == 2
    if several and targets.shape[1] != len(manifest.classes):
        raise ValueError(f"its labels are of {targets.shape[1]} classes")
    if not several and len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(manifest.classes):
        raise ValueError("it has a label without a class")
    return Labels(tuple(manifest.classes), targets.float() if several else targets.long())
