"""Spectrograms -> patches, which may overlap."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Tokenizer
from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_registry import ConfigError, MaeError


class SpectrogramPatches(Tokenizer):
    """Log-mel spectrograms (B, 1, frames, mels) -> patches on the grid t, f, values in the order (frames, mels).

    Patches may overlap (`stride` smaller than the patch), which gives more tokens of the same sound. `unpatchify` then averages
    what the patches around a value say of it, so that it still undoes `patchify`; a target normalised by the patch is averaged
    the same way once its patches' statistics are put back. What overlapping cannot do: a hidden patch is partly seen wherever a
    neighbour of it is kept, so that the task is easier than its mask ratio says.

    Args:
        input_size: frames (10 ms apart) and mel bins.
        patch_size: frames and mel bins of a patch.
        stride: frames and mel bins from one patch to the next, at most the patch. Default: the patch, no overlap.
        mean, std: of the training set's log-mel values, which `mae statistics` measures; the model takes
            (x - mean) / (2 std). Default: the published ones of AudioSet.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Positive, Positive] = (1024, 128),
        patch_size: tuple[Positive, Positive] = (16, 16),
        stride: tuple[Positive, Positive] | None = None,
        mean: float = -4.2677393,
        std: PositiveFloat = 4.5689974,
    ) -> None:
        super().__init__()
        self.patch_size, self.stride = patch_size, stride or patch_size
        num_t, num_f = _count_patches(input_size, patch_size, self.stride)
        self.grid = Grid(t=num_t, f=num_f)
        self.sample_shape = (1, *input_size)
        self.patch_dim = patch_size[0] * patch_size[1]
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("scale", torch.tensor(2 * std), persistent=False)
        self.proj = None if width is None else nn.Linear(self.patch_dim, width)

    def patchify(self, x: Tensor) -> Tensor:
        """(B, 1, frames, mels) -> (B, N, P)."""
        if x.shape[1:] != self.sample_shape:
            raise MaeError(
                f"the model takes samples of shape {self.sample_shape} (1, frames, mels), in batches; got {tuple(x.shape)}"
            )
        (p, q), (step_t, step_f) = self.patch_size, self.stride
        return rearrange(x[:, 0].unfold(1, p, step_t).unfold(2, q, step_f), "b t f p q -> b (t f) (p q)")

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, 1, frames, mels); the mean where patches overlap."""
        sums = self._add_up(patches)
        return sums if self.stride == self.patch_size else sums / self._add_up(torch.ones_like(patches[:1]))

    def for_shape(self, sample_shape: tuple[int, ...]) -> Self:
        """This tokenizer for sounds of another length, or of other mel bins, which shares the weights."""
        if len(sample_shape) != len(self.sample_shape) or sample_shape[0] != 1:
            raise MaeError(
                f"the model takes samples of shape (1, frames, mels), in batches; got samples of shape {sample_shape}"
            )
        num_t, num_f = _count_patches((sample_shape[1], sample_shape[2]), self.patch_size, self.stride)
        other = copy.copy(self)
        other.grid, other.sample_shape = Grid(t=num_t, f=num_f), sample_shape
        return other

    def _add_up(self, patches: Tensor) -> Tensor:
        return F.fold(patches.transpose(1, 2), self.sample_shape[1:], self.patch_size, stride=self.stride)

    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) -> (B, K, D): the strided convolution of a ViT, on the patches that are kept only."""
        assert self.proj is not None, "the encoder of this model embeds patches by itself"
        return self.proj(patches)

    def normalize(self, x: Tensor) -> Tensor:
        """Log-mel values -> floats of mean 0 and, as published, standard deviation 1/2."""
        return (x - self.mean) / self.scale

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse: log-mel values."""
        return x * self.scale + self.mean


def _count_patches(input_size: Sequence[int], patch_size: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    """Patches along t and f. Raises ConfigError unless they cover the input exactly."""
    counts = []
    for axis, size, side, step in zip(("frames", "mel bins"), input_size, patch_size, stride, strict=True):
        if step > side:
            raise ConfigError(f"stride {list(stride)} is larger than patch_size {list(patch_size)}: {axis} would go unseen")
        if size < side or (size - side) % step:
            lower, upper = side + max(0, size - side) // step * step, side + (max(0, size - side) // step + 1) * step
            nearest = f"{lower} or {upper}" if size > side else str(side)
            raise ConfigError(
                f"patches of {side} {axis}, one every {step}, do not cover input_size {list(input_size)}, "
                f"which has {size} {axis}; use {nearest}"
            )
        counts.append((size - side) // step + 1)
    return counts[0], counts[1]
