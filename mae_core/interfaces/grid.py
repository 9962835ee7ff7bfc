"""A grid of patches: ordered, named axes with sizes. All that geometry-dependent parts may know of a sample."""

import math

import torch
from torch import Tensor

from mae_registry import ConfigError, did_you_mean

MAX_PATCHES = 2**20
"""Of one sample, far above what attention can take; the masks of more would not fit into memory."""


class Grid:
    """Ordered named axes with sizes, e.g. `Grid(t=8, h=14, w=14)`. Patches are numbered in raster order, last axis fastest."""

    def __init__(self, **sizes: int) -> None:
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"grid axis {name!r} has size {size}; every axis needs at least 1 patch")
        if not sizes:
            raise ConfigError("a grid needs at least one axis, e.g. Grid(h=14, w=14)")
        if (num_patches := math.prod(sizes.values())) > MAX_PATCHES:
            raise ConfigError(f"a grid of {num_patches:,} patches is too large; at most {MAX_PATCHES:,}: use larger patches")
        self._sizes = dict(sizes)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, slowest first."""
        return tuple(self._sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Patches along each axis."""
        return tuple(self._sizes.values())

    @property
    def num_patches(self) -> int:
        """N, the product of the sizes."""
        return math.prod(self.sizes)

    def __getitem__(self, axis: str) -> int:
        if axis not in self._sizes:
            raise ConfigError(f"the grid {self} has no axis {axis!r}.{did_you_mean(axis, self.axes)}")
        return self._sizes[axis]

    def coordinates(self) -> Tensor:
        """(N, number of axes) int64: where each patch lies."""
        return torch.cartesian_prod(*(torch.arange(size) for size in self.sizes)).reshape(self.num_patches, -1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and list(self._sizes.items()) == list(other._sizes.items())

    def __hash__(self) -> int:
        return hash(tuple(self._sizes.items()))

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in self._sizes.items())

    def __repr__(self) -> str:
        return f"Grid({', '.join(f'{name}={size}' for name, size in self._sizes.items())})"
