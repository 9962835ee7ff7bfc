"""Certificates: comparisons of what this installation computes with published numbers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from mae_registry import MaeError, did_you_mean, some_of


@dataclass(frozen=True)
class Check:
    """One line of a certificate: an error measured against its tolerance, or an equality (`tolerance` 0)."""

    name: str
    measured: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the measured error is a number within the tolerance."""
        return self.measured <= self.tolerance


@dataclass(frozen=True)
class Numbers:
    """One file of published numbers. Everything that a certificate needs to know of their sizes is read from it."""

    file: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        """A tensor: an input, or what the published implementation made of it. Raises MaeError if the file lacks it."""
        if name not in self.tensors:
            raise MaeError(f"{self.file} has no tensor {name!r}.{did_you_mean(name, self._outside_folders())}")
        return self.tensors[name]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors named PREFIX/..., by the rest of their names. Raises MaeError if there is none."""
        found = {name.removeprefix(f"{prefix}/"): x for name, x in self.tensors.items() if name.startswith(f"{prefix}/")}
        if not found:
            raise MaeError(f"{self.file} has no tensors {prefix}/...; it has {some_of(sorted(self.tensors))}")
        return found

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors named state_dict/..., by the published names."""
        return self.under("state_dict")

    def sizes(self, part: str = "cfg") -> dict[str, Any]:
        """What the metadata state of one part of the published model: `meta`, as PART/NAME, or `config`."""
        stated = self.metadata.get("meta", {})
        found = {name.removeprefix(f"{part}/"): value for name, value in stated.items() if name.startswith(f"{part}/")}
        return found or dict(self.metadata.get("config", {}))

    def size(self, name: str, *, part: str = "cfg") -> Any:
        """One of `sizes`. Raises MaeError if the metadata do not state it."""
        sizes = self.sizes(part)
        if name not in sizes:
            raise MaeError(
                f"the metadata of {self.file} do not state {name!r} of {part!r}; they state {some_of(sorted(sizes))}"
            )
        return sizes[name]

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings of a training, such as its learning rate. Raises MaeError if the metadata do not state them."""
        if "recipe" not in self.metadata:
            raise MaeError(f"the metadata of {self.file} state no 'recipe'")
        return self.metadata["recipe"]

    def _outside_folders(self) -> list[str]:
        return [name for name in self.tensors if "/" not in name]


@dataclass(frozen=True)
class Published:
    """The published numbers that a plugin ships, and what replaces files of them."""

    package: str
    """The plugin's import package; its numbers lie in the folder `published` of it."""
    folder: Path | None = None
    """Files of the same names in here are read instead."""

    def read(self, name: str) -> Numbers:
        """The numbers in NAME.safetensors. Raises MaeError if a file that replaces it is damaged."""
        file = f"{name}.safetensors"
        content = self._content(file)
        try:
            return Numbers(self._place(file), load(content), _metadata(content))
        except (SafetensorError, ValueError) as error:
            raise MaeError(f"{self._place(file)} is damaged, or is not a safetensors file: {error}") from error

    def manifest(self, name: str) -> dict[str, Any]:
        """NAME.json: `state_dict`, names and shapes of a full-size checkpoint, with its numbers of parameters."""
        file = f"{name}.json"
        try:
            return json.loads(self._content(file))
        except ValueError as error:
            raise MaeError(f"{self._place(file)} is not a JSON file: {error}") from error

    def names(self) -> list[str]:
        """The files of numbers that ship with the package."""
        shipped = resources.files(self.package) / "published"
        files = shipped.iterdir() if shipped.is_dir() else []
        return sorted(file.name for file in files if file.name.endswith((".safetensors", ".json")))

    def replaced(self) -> list[str]:
        """The files among them that are read from `folder` instead."""
        return [name for name in self.names() if self._replaces(name)]

    def _replaces(self, file: str) -> bool:
        return self.folder is not None and (self.folder / file).is_file()

    def _place(self, file: str) -> str:
        return str(self.folder / file) if self.folder is not None and self._replaces(file) else file

    def _content(self, file: str) -> bytes:
        if self.folder is not None and self._replaces(file):
            return (self.folder / file).read_bytes()
        return (resources.files(self.package) / "published" / file).read_bytes()


class Certify(Protocol):
    """A certificate: compares with `numbers`, which lie in the folder `published` of the plugin's import package.

    Sizes are read from the files, so that numbers of another size and seed may take the place of those that ship.
    """

    def __call__(self, numbers: Published, /) -> Iterable[Check]:
        """One check after the other, slow ones last."""
        ...


def _metadata(content: bytes) -> dict[str, Any]:
    """The metadata of a safetensors file; values that are JSON are read as such."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {name: _value(text) for name, text in header.get("__metadata__", {}).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
