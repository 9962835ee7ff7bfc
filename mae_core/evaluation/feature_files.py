"""Features as files for other programs: .safetensors, .npy and .parquet."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import BadSample, Dataset, Preview, Sample, Tokenizer
from mae_registry import MaeError, resolve

SUFFIXES = (".safetensors", ".npy", ".parquet")
MAX_HEADER = 90_000_000
"""Bytes of names in the header of a .safetensors file, which readers refuse above 100 MB."""


class Files(Dataset):
    """Single files as their modality reads them."""

    def __init__(self, paths: Sequence[str], *, read: str, tokenizer: Tokenizer) -> None:
        """`read`: the modality's, an import string. `tokenizer` is on the CPU, where worker processes use it."""
        self._paths, self._read, self._tokenizer = paths, read, tokenizer

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """As `read`: files are not augmented."""
        return self.read(index)

    def read(self, index: int) -> Tensor | Sample:
        """One file. Raises BadSample."""
        return resolve(self._read)(Path(self._paths[index]), self._tokenizer)

    def describe(self, index: int) -> str:
        """The path, as it was given."""
        return self._paths[index]

    def previews(self, count: int) -> Sequence[Preview]:
        """Of the first files that can be read."""
        found: list[Preview] = []
        for index in range(len(self)):
            if len(found) == count:
                break
            try:
                x = self.read(index)
            except BadSample:
                continue
            sample, extras = (x.x, x.extras) if isinstance(x, Sample) else (x, {})
            found.append(Preview(self._paths[index], sample, extras=extras))
        return found


def files_written(path: Path) -> list[Path]:
    """All files that `write_features` makes for this output."""
    return [path, path.with_suffix(".txt")] if path.suffix.lower() == ".npy" else [path]


def require_writer(path: Path, *, has_tokens: bool) -> None:
    """Raise MaeError where features of this kind cannot be written in the format that the path's ending names."""
    if path.suffix.lower() != ".parquet":
        return
    if has_tokens:
        raise MaeError(
            f"cannot write {path}: a .parquet file holds one vector a sample, and no tokens; name a .safetensors file"
        )
    try:
        import pyarrow.parquet  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MaeError(
            f"cannot write {path}: .parquet files need pyarrow; install it with: pip install pyarrow, or name a .npy file"
        ) from error


def write_features(path: Path, names: Sequence[str], features: Tensor, *, facts: Mapping[str, str]) -> None:
    """Write features (S, ...) float32 and the names of the samples, in the format that the path's ending names.

    .safetensors: the tensor "features"; in the metadata the `facts`, and "names", a JSON list. .npy: the features, and the
    names in a .txt file beside it, one a line. .parquet: the columns path and features, and the `facts` in the schema's
    metadata.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        write_atomically(path, lambda file: np.save(file, features.numpy()))
        lines = "".join(f"{_one_line(name)}\n" for name in names).encode(errors="surrogateescape")
        write_atomically(path.with_suffix(".txt"), lambda file: file.write(lines))
        return
    content = _safetensors(path, names, features, facts) if suffix == ".safetensors" else _parquet(names, features, facts)
    write_atomically(path, lambda file: file.write(content))


def _safetensors(path: Path, names: Sequence[str], features: Tensor, facts: Mapping[str, str]) -> bytes:
    listed = json.dumps(list(names))
    if len(listed) > MAX_HEADER:
        raise MaeError(f"cannot write {path}: its header cannot hold the names of {len(names)} files; name a .parquet file")
    return save({"features": features.contiguous()}, metadata={**facts, "names": listed})


def _parquet(names: Sequence[str], features: Tensor, facts: Mapping[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    library: Any = pa  # it ships no types
    values = library.array(features.reshape(-1).numpy())
    column = library.FixedSizeListArray.from_arrays(values, features.shape[1])
    paths = [os.fsencode(name).decode(errors="backslashreplace") for name in names]
    table = library.table({"path": paths, "features": column}).replace_schema_metadata(dict(facts))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)  # pyright: ignore[reportUnknownMemberType]
    return buffer.getvalue()


def _one_line(name: str) -> str:
    """A name as one line: a line break in it would move all names that follow."""
    return name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") if "\n" in name or "\r" in name else name
