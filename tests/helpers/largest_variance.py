"""A masker that looks at the samples, as a plugin in one file."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid, Guide, Mask, Masker
from mae_registry import hookimpl

MAE_API = 1


class LargestVariance(Masker):
    """Hide the patches whose values vary most: what is kept is the background."""

    needs = "patches"

    def __init__(self, *, ratio: Annotated[float, Field(gt=0, lt=1)]) -> None:
        super().__init__()
        self.ratio = ratio
        self.patches: Tensor | None = None

    def guided_by(self, guide: Guide) -> "LargestVariance":
        """For the sample with these patches."""
        return self.view(patches=guide.patches)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU. Patches of lowest variance are kept."""
        assert self.patches is not None, "draw masks by model.draw_masks, or guided_by(guide)"
        variance = self.patches.var(dim=-1).cpu().expand(batch_size, -1)
        return Mask.from_noise(variance, int(grid.num_patches * (1 - self.ratio)))


@hookimpl
def register_maskers(register):
    register("largest_variance", "largest_variance:LargestVariance")
