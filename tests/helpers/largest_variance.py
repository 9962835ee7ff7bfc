"""A masker that looks at the samples, as a plugin in one file."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker
from mae_registry import hookimpl

MAE_API = 1


class LargestVariance(Masker):
    """Hide the patches whose values vary most: what is kept is the background."""

    needs_patches = True

    def __init__(self, *, ratio: Annotated[float, Field(gt=0, lt=1)]) -> None:
        self.ratio = ratio
        self.patches: Tensor | None = None

    def guided_by(self, patches: Tensor) -> "LargestVariance":
        """For samples with these patches."""
        guided = copy.copy(self)
        guided.patches = patches
        return guided

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU. Patches of lowest variance are kept."""
        assert self.patches is not None, "draw masks by model.draw_masks, or guided_by(patches)"
        variance = self.patches.var(dim=-1).cpu()
        return Mask.from_noise(variance, int(grid.num_patches * (1 - self.ratio)))


@hookimpl
def register_maskers(register):
    register("largest_variance", "largest_variance:LargestVariance")
