"""Certificates: comparisons of what this installation computes with published numbers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load
from torch import Tensor


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
    """One file of published numbers."""

    tensors: dict[str, Tensor]
    """Inputs, weights as state_dict/NAME, and what the published implementation made of them."""
    metadata: dict[str, Any]
    """What the file says of itself: sizes, and where it is of a training, its recipe."""


@dataclass(frozen=True)
class Published:
    """The published numbers of one certificate: the folder `published` of its package, and what replaces files of it."""

    package: str
    folder: Path | None = None
    """Files of the same names in here are read instead."""

    def read(self, name: str) -> Numbers:
        """The numbers in NAME.safetensors."""
        content = self._content(f"{name}.safetensors")
        return Numbers(load(content), _metadata(content))

    def manifest(self, name: str) -> dict[str, Any]:
        """NAME.json: `state_dict`, names and shapes of a full-size checkpoint, with its numbers of parameters."""
        return json.loads(self._content(f"{name}.json"))

    def names(self) -> list[str]:
        """The files of numbers that ship with the package."""
        shipped = resources.files(self.package) / "published"
        return sorted(file.name for file in shipped.iterdir() if file.name.endswith((".safetensors", ".json")))

    def replaced(self) -> list[str]:
        """Those of them that are read from `folder` instead."""
        return [] if self.folder is None else [name for name in self.names() if (self.folder / name).is_file()]

    def _content(self, name: str) -> bytes:
        if self.folder is not None and (self.folder / name).is_file():
            return (self.folder / name).read_bytes()
        return (resources.files(self.package) / "published" / name).read_bytes()


class Certify(Protocol):
    """A certificate: compares with `numbers`, which lie in the folder `published` beside the certificate's module.

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
