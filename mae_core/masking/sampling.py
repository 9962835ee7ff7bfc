"""Masks for a batch: drawn at once, or, where they depend on the samples, when these are there."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker, MaskSets, each_mask


@dataclass
class Undrawn:
    """What a masker that needs the samples will draw. Each sample has its own seed, so that its mask depends on no other's."""

    masker: Masker
    seeds: Tensor
    """(B,) int64."""

    def draw(self, grid: Grid, patches: Tensor) -> MaskSets:
        """Masks of samples with these patches (B, N, P). Raises MaeError if samples come to hide different numbers."""
        drawn = [
            each_mask(self.masker.guided_by(sample[None])(grid, 1, generator=torch.Generator().manual_seed(int(seed))))
            for sample, seed in zip(patches.detach(), self.seeds, strict=True)
        ]
        sets = tuple(Mask.cat(masks) for masks in zip(*drawn, strict=True))
        return sets[0] if len(sets) == 1 else sets


Drawn = MaskSets | Undrawn


def draw(masker: Masker, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Drawn:
    """Masks of a batch, or their seeds: in either case functions of the generator and, at most, of each sample itself."""
    if masker.needs_patches:
        return Undrawn(masker, torch.randint(2**62, (batch_size,), generator=generator))
    return masker(grid, batch_size, generator=generator)


def trial_masks(masker: Masker, grid: Grid) -> Iterator[MaskSets]:
    """A small batch of each of its cases, but those that need samples. Raises ConfigError if one cannot mask the grid."""
    for case in masker.cases():
        if not case.needs_patches:
            with torch.device("cpu"):  # also where a model is built on another device, or on none
                drawn = case(grid, 2, generator=torch.Generator().manual_seed(0))
            yield drawn


def take_rows(drawn: Drawn, rows: slice) -> Drawn:
    """Those of some samples of the batch."""
    if isinstance(drawn, Undrawn):
        return Undrawn(drawn.masker, drawn.seeds[rows])
    return drawn[rows] if isinstance(drawn, Mask) else tuple(mask[rows] for mask in drawn)


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any description, e.g. `derive_seed(seed, "mask", step)`: unrelated for unequal descriptions.

    Seeds depend on what they are for and on nothing else: no global state, no order of calls.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
