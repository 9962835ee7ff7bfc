"""Masks for a batch: drawn at once, or, where they depend on the samples, when these are there."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mae_core.interfaces import Grid, Guide, Latent, Mask, Masker, MaskSets, each_mask

TRIAL_SIZE = 2
"""Samples of the batches that are drawn to see whether a masker works."""


@dataclass
class Undrawn:
    """What a masker that needs the samples will draw. Each sample has its own seed, so that its mask depends on no other's."""

    masker: Masker
    seeds: Tensor
    """(B,) int64."""

    @property
    def needs_backbone(self) -> bool:
        """Whether `draw` has to be given a latent."""
        return self.masker.needs == "backbone"

    def draw(self, grid: Grid, patches: Tensor, *, latent: Latent | None = None) -> MaskSets:
        """Masks of samples with these patches (B, N, P). Raises MaeError if samples come to hide different numbers.

        latent: what the backbone makes of the whole samples, this modality's tokens alone, (B, N, D), where it is needed.
        """
        assert latent is not None or not self.needs_backbone, "a masker that needs the backbone is drawn with a latent"
        drawn = []
        for index, seed in enumerate(self.seeds.tolist()):
            rows = slice(index, index + 1)
            guide = Guide(patches[rows].detach(), _rows(latent, rows) if latent is not None else None)
            generator = torch.Generator().manual_seed(seed)
            drawn.append(each_mask(self.masker.guided_by(guide)(grid, 1, generator=generator)))
        sets = tuple(Mask.cat(masks) for masks in zip(*drawn, strict=True))
        return sets[0] if len(sets) == 1 else sets


Drawn = MaskSets | Undrawn


def draw(masker: Masker, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Drawn:
    """Masks of a batch, or their seeds: in either case functions of the generator and, at most, of each sample itself."""
    if masker.needs != "grid":
        masker = masker.for_batch(generator)
    if masker.needs != "grid":
        return Undrawn(masker, torch.randint(2**62, (batch_size,), generator=generator))
    return masker(grid, batch_size, generator=generator)


def trial_masks(
    masker: Masker, grid: Grid, *, patch_dim: int | None = None, make_latent: Callable[[int], Latent] | None = None
) -> Iterator[MaskSets]:
    """A small batch of each of its cases. Raises MaeError if one cannot mask the grid.

    A case that needs samples is drawn for random patches of `patch_dim` values, one that needs the backbone also with what
    `make_latent` gives for so many samples; where these are not given, the case is left out.
    """
    for case in masker.cases():
        lacks_patches = case.needs != "grid" and patch_dim is None
        if lacks_patches or (case.needs == "backbone" and make_latent is None):
            continue
        with torch.device("cpu"):  # also where a model is built on another device, or on none
            drawn = _trial(case, grid, patch_dim or 0, make_latent)
        yield drawn


def _trial(masker: Masker, grid: Grid, patch_dim: int, make_latent: Callable[[int], Latent] | None) -> MaskSets:
    generator = torch.Generator().manual_seed(0)
    drawn = draw(masker, grid, TRIAL_SIZE, generator=generator)
    if not isinstance(drawn, Undrawn):
        return drawn
    patches = torch.randn(TRIAL_SIZE, grid.num_patches, patch_dim, generator=generator)
    return drawn.draw(grid, patches, latent=make_latent(TRIAL_SIZE) if make_latent and drawn.needs_backbone else None)


def take_rows(drawn: Drawn, rows: slice) -> Drawn:
    """The masks of some samples of the batch."""
    if isinstance(drawn, Undrawn):
        return Undrawn(drawn.masker, drawn.seeds[rows])
    return drawn[rows] if isinstance(drawn, Mask) else tuple(mask[rows] for mask in drawn)


def _rows(latent: Latent, rows: slice) -> Latent:
    layers = {layer: x[rows] for layer, x in latent.layers.items()}
    return replace(latent, x=latent.x[rows], ids=latent.ids[rows], layers=layers)


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any description, e.g. `derive_seed(seed, "mask", step)`: unrelated for unequal descriptions.

    Seeds depend on what they are for and on nothing else: no global state, no order of calls.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
