"""Samples on a regular grid -> non-overlapping patches, for any number of axes."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Tokenizer
from mae_registry import ConfigError, MaeError


class PatchTokenizer(Tokenizer):
    """Samples (B, C, *sizes) -> patches (B, N, prod(patch) * C), values in the order (*patch, C), as the published MAE.

    A modality derives from it and names its axes: `axes = ("h", "w")`.
    """

    axes: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int | None,
        *,
        input_size: Sequence[int],
        patch_size: Sequence[int],
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        sizes = grid_sizes(self.axes, input_size, patch_size)
        self.grid = Grid(**sizes)
        self.sample_shape = (channels, *input_size)
        self._lengths = {f"p{i}": side for i, side in enumerate(patch_size)}
        outer = " ".join(f"({axis} p{i})" for i, axis in enumerate(self.axes))
        self._split = f"b c {outer} -> b ({' '.join(self.axes)}) ({' '.join(self._lengths)} c)"
        self._join = " -> ".join(reversed(self._split.split(" -> ")))
        self.patch_dim = channels
        for side in patch_size:
            self.patch_dim *= side
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise ConfigError(
                    f"{name} has {len(values)} values but there are {channels} channels; give one value for each channel"
                )
            constants = torch.tensor(values, dtype=torch.float32).reshape(channels, *[1] * len(self.axes))
            self.register_buffer(name, constants, persistent=False)
        self.proj = None if width is None else nn.Linear(self.patch_dim, width)

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, *sizes) -> (B, N, P)."""
        if x.shape[1:] != self.sample_shape:
            raise MaeError(
                f"the model takes samples of shape {self.sample_shape} (channels, {', '.join(self.axes)}), in batches; "
                f"got {tuple(x.shape)}"
            )
        return rearrange(x, self._split, **self._lengths)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, C, *sizes)."""
        sizes = dict(zip(self.grid.axes, self.grid.sizes, strict=True))
        return rearrange(patches, self._join, c=self.sample_shape[0], **self._lengths, **sizes)

    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) -> (B, K, D): the strided convolution of a ViT, on the patches that are kept only."""
        assert self.proj is not None, "the encoder of this model embeds patches by itself"
        return self.proj(patches)

    def normalize(self, x: Tensor) -> Tensor:
        """Bytes, or floats in 0..1 -> floats of mean 0 and standard deviation 1."""
        scaled = x.float() / 255 if x.dtype == torch.uint8 else x
        return (scaled - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse, as floats in 0..1."""
        return x * self.std + self.mean

    def for_shape(self, sample_shape: tuple[int, ...]) -> Self:
        """This tokenizer for samples of another size, which shares the weights. Raises ConfigError as its making does."""
        if len(sample_shape) != len(self.sample_shape) or sample_shape[0] != self.sample_shape[0]:
            raise MaeError(
                f"the model takes samples of shape ({self.sample_shape[0]}, {', '.join(self.axes)}), in batches; got samples "
                f"of shape {sample_shape}"
            )
        other = copy.copy(self)
        other.grid = Grid(**grid_sizes(self.axes, sample_shape[1:], list(self._lengths.values())))
        other.sample_shape = sample_shape
        return other


def grid_sizes(axes: Sequence[str], input_size: Sequence[int], patch_size: Sequence[int]) -> dict[str, int]:
    """Patches along each axis. Raises ConfigError if the patch does not divide the input."""
    for name, values in (("input_size", input_size), ("patch_size", patch_size)):
        if len(values) != len(axes) or min(values) < 1:
            raise ConfigError(f"{name} is {list(values)}; it needs {len(axes)} positive sizes, for {', '.join(axes)}")
    sizes = {}
    for axis, size, side in zip(axes, input_size, patch_size, strict=True):
        if size % side:
            lower, upper = size // side * side, (size // side + 1) * side
            nearest = f"{lower} or {upper}" if lower else str(upper)
            raise ConfigError(
                f"input_size {list(input_size)} is not divisible by patch_size {list(patch_size)}: "
                f"axis {axis!r} has {size} = {size // side} x {side} + {size % side}; use {nearest}"
            )
        sizes[axis] = size // side
    return sizes
