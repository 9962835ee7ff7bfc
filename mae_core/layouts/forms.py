"""How the values of published tensors are arranged where that differs from ours: patch embeddings and tables of positions."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from mae_registry import MaeError


class OtherGrid(MaeError):
    """A table of positions is of another grid of patches than the model's."""


class Form(Protocol):
    """How the values of a published tensor are arranged, where that differs from ours. Raises MaeError for what cannot be."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Published -> ours."""
        ...

    def to_published(self, tensor: Tensor) -> Tensor:
        """The inverse."""
        ...


@dataclass(frozen=True)
class Convolution:
    """The strided convolution of a patch embedding, (D, C, *sides); ours is a matrix, (D, sides * C), channels last."""

    sides: tuple[int, ...]
    """Of a patch."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """(D, C, *sides) -> (D, P)."""
        if tensor.shape[2:] != self.sides:
            wanted = ", ".join(("D", "C", *map(str, self.sides)))
            raise MaeError(
                f"has the shape {tuple(tensor.shape)}; for the patches of this model it must be ({wanted}), as in a convolution"
            )
        return tensor.movedim(1, -1).flatten(1)

    def to_published(self, tensor: Tensor) -> Tensor:
        """(D, P) -> (D, C, *sides)."""
        return tensor.unflatten(1, (*self.sides, -1)).movedim(-1, 1).contiguous()


@dataclass(frozen=True)
class PositionTable:
    """A published table of one position a patch: (1, rows of class tokens + N, D), or (1, D, *planes).

    A fixed table of ours is compared with the published one; a learned one is loaded.
    """

    name: str
    class_rows: int = 1
    """Rows for prefix tokens, at the beginning."""
    class_token: str | None = None
    """Ours, to which the class token's own position is added once and for all, where our positions have none for it; None:
    that row must be zero."""
    planes: tuple[int, ...] | None = None
    """Sizes of the grid, where the table is laid out as a picture of it."""

    @property
    def takes_class_row(self) -> bool:
        """Whether there is room for a position that the class token has learned."""
        return self.planes is None and self.class_rows == 1

    def of(self, entry: str) -> "PositionTable":
        """The same table with the name of the modality filled in."""
        return replace(self, class_token=self.class_token and self.class_token.format(entry=entry))

    def rows(self, published: Tensor, *, like: Tensor) -> Tensor:
        """Published -> (class rows + N, D). Raises MaeError unless it has the positions of `like`, (N, D)."""
        expected = tuple(self.published(like).shape)
        if tuple(published.shape) != expected:
            found = tuple(published.shape)
            raise OtherGrid(f"{self.name}: the checkpoint has the shape {found}, but this model has {expected}")
        return published[0] if self.planes is None else published[0].flatten(1).T

    def published(self, table: Tensor, class_row: Tensor | None = None) -> Tensor:
        """(N, D), and that of the class token (1, 1, D) -> published, with zeros for prefix tokens that have none."""
        if self.planes is not None:
            return table.T.unflatten(1, self.planes).unsqueeze(0).contiguous()
        first = table.new_zeros(self.class_rows, table.shape[1]) if class_row is None else class_row[0]
        return torch.cat([first, table]).unsqueeze(0)
