"""Masking nothing."""

import torch

from mae_core.interfaces import Grid, Mask, Masker


class NoMasker(Masker):
    """Hides nothing, for use inside combinations.

    In every second batch some times too:

        any:
          - {name: random, over: [h, w], ratio: 0.9}
          - one_of: [none, {name: random, over: [t], ratio: 0.5}]

    It predicts nothing, so that a model whose own masker it is cannot be built.
    """

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class. `generator` is not used."""
        return Mask.from_hidden(torch.zeros(batch_size, grid.num_patches, dtype=torch.bool))

    def axes(self, grid: Grid) -> frozenset[str]:
        """Masks vary along no axis."""
        return frozenset()
