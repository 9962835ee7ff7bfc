"""Mask units: squares of tokens that are hidden, attended to and pooled together."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae_core.interfaces import gather_patches
from mae_methods.hiera.sizes import TokenSizes, divide


class MaskUnits(nn.Module):
    """Which tokens and which patches each of U mask units has: L tokens, P patches.

    A token is what the embedding gives; a patch is what the model's grid counts and the latent has. A patch has several tokens
    until the encoder's stages have pooled these to one. Among the L tokens of a unit the slowest are those that are pooled
    next, so that pooling is a maximum over an axis: (2 x 2, 2 x 2, P) for patches of 4 x 4 tokens.
    """

    tokens_of: Tensor
    patches_of: Tensor
    unit_of: Tensor
    place_of: Tensor

    def __init__(self, sizes: TokenSizes) -> None:
        super().__init__()
        self.strides = sizes.strides
        self._grid, self._unit = divide(sizes.sample, sizes.patch), sizes.unit_patches
        order = pooling_order(sizes.unit, sizes.strides, sizes.num_pools)
        patches_of = in_blocks(torch.arange(math.prod(self._grid)), self._grid, self._unit)
        tokens_of = in_blocks(torch.arange(math.prod(sizes.sample)), sizes.sample, sizes.unit)
        self.patches_each = patches_of.shape[1]
        number = torch.argsort(patches_of.flatten())  # of each patch, counted unit by unit
        self.register_buffer("tokens_of", tokens_of[:, order], persistent=False)
        self.register_buffer("patches_of", patches_of, persistent=False)
        self.register_buffer("unit_of", number // self.patches_each, persistent=False)
        self.register_buffer("place_of", number % self.patches_each, persistent=False)

    def are_whole(self, hidden: Tensor) -> bool:
        """Whether every unit of (rows, N) patches is hidden, or visible, as one. On any device, also for a model on another."""
        by_unit = in_blocks(hidden, self._grid, self._unit)
        return bool((by_unit == by_unit[..., :1]).all())

    def visible(self, hidden: Tensor, *, num_patches: int) -> Tensor:
        """(rows, N) -> (rows, V): the visible units in raster order, which have `num_patches` patches in each row."""
        hidden_units = hidden[:, self.patches_of[:, 0]]
        return torch.argsort(hidden_units.to(torch.uint8), dim=1, stable=True)[:, : num_patches // self.patches_each]

    def take_tokens(self, x: Tensor, units: Tensor) -> Tensor:
        """(rows, tokens, D) in raster order -> (rows, V, L, D): those of these units."""
        ids = self.tokens_of[units]
        return gather_patches(x, ids.flatten(1)).unflatten(1, ids.shape[1:])

    def take_patches(self, x: Tensor, units: Tensor, ids: Tensor) -> Tensor:
        """(rows, V, P, ...) of these units -> (rows, K, ...): the patches `ids` (rows, K), in their order."""
        rank = units.new_zeros(units.shape[0], len(self.patches_of))
        rank = rank.scatter(1, units, torch.arange(units.shape[1], device=units.device).expand_as(units))
        number = rank.gather(1, self.unit_of[ids]) * self.patches_each + self.place_of[ids]
        return gather_patches(x.flatten(1, 2), number)

    def by_patch(self, x: Tensor) -> Tensor:
        """(rows, V, L, D), at any stage -> (rows, V, P, *finer, D).

        `finer` is the grid of a patch's tokens in raster order; it has no axes where a patch has one token.
        """
        if x.shape[2] == self.patches_each:
            return x
        levels = round(math.log(x.shape[2] / self.patches_each, math.prod(self.strides)))
        axes, parts = len(self.strides), x.unflatten(2, (*self.strides * levels, self.patches_each))
        within = [2 + level * axes + axis for axis in range(axes) for level in reversed(range(levels))]
        patch = 2 + levels * axes
        finer = [stride**levels for stride in self.strides]
        return parts.permute(0, 1, patch, *within, patch + 1).reshape(*x.shape[:2], self.patches_each, *finer, x.shape[-1])


def in_blocks(x: Tensor, sizes: Sequence[int], block: Sequence[int]) -> Tensor:
    """(..., places of a grid of these sizes) -> (..., blocks, places of each), both in raster order."""
    split = [side for size, part in zip(sizes, block, strict=True) for side in (size // part, part)]
    first, axes = x.ndim - 1, range(x.ndim - 1, x.ndim - 1 + len(split))
    by_block = x.unflatten(-1, split).permute(*range(first), *axes[::2], *axes[1::2])
    return by_block.reshape(*x.shape[:-1], -1, math.prod(block))


def pooling_order(block: Sequence[int], strides: Sequence[int], levels: int) -> Tensor:
    """(L,) raster numbers of a block's places, the neighbours that are pooled first being the slowest.

    `strides`: what each of the `levels` poolings takes together along each axis.
    """
    split = [part for size, step in zip(block, strides, strict=True) for part in (size // step**levels, *[step] * levels)]
    order = [axis * (levels + 1) + level for level in reversed(range(levels + 1)) for axis in range(len(block))]
    return torch.arange(math.prod(block)).reshape(split).permute(order).flatten()
