"""Masks of paired modalities, with a random share for each (MultiMAE, Bachmann et al. 2022, section 3.2)."""

from collections.abc import Mapping

import numpy as np
import torch

from mae_core.interfaces import Grid, JointMasker, Mask
from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_registry import ConfigError


class DirichletMasker(JointMasker):
    """Keep `num_keep` patches of all modalities together; their shares are drawn from a symmetric Dirichlet distribution.

    Args:
        num_keep: visible patches of a sample. MultiMAE keeps 98 of 3 x 196.
        alpha: concentration: 1 makes all shares equally likely, small values leave most samples with one modality.

    Each modality's patches are shuffled, its share (rounded) put first, and uniform noise breaks the rest of the ties, so that
    exactly `num_keep` are kept whatever the shares round to.
    """

    def __init__(self, *, num_keep: Positive, alpha: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.num_keep = num_keep
        self.alpha = alpha

    def forward(self, grids: Mapping[str, Grid], batch_size: int, *, generator: torch.Generator) -> dict[str, Mask]:
        """Masks on the CPU; see the class."""
        sizes = [grid.num_patches for grid in grids.values()]
        if self.num_keep >= sum(sizes):
            raise ConfigError(f"num_keep: {self.num_keep} hides none of the {sum(sizes)} patches of {', '.join(grids)}")
        # torch's distributions take no generator
        seed = int(torch.randint(2**62, (1,), generator=generator))
        shares = torch.from_numpy(np.random.default_rng(seed).dirichlet([self.alpha] * len(sizes), size=batch_size))
        num_wanted = (shares * self.num_keep).round().long()
        ranks = [torch.rand(batch_size, size, generator=generator).argsort(dim=1).argsort(dim=1) for size in sizes]
        unwanted = torch.cat([rank >= num_wanted[:, [index]] for index, rank in enumerate(ranks)], dim=1)
        noise = unwanted + torch.rand(unwanted.shape, generator=generator)
        hidden = Mask.from_noise(noise, self.num_keep).hidden
        return {name: Mask.from_hidden(part, ragged=True) for name, part in zip(grids, hidden.split(sizes, dim=1), strict=True)}
