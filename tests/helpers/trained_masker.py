"""A masker with a parameter, which scores what the backbone makes of each patch."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from mae_core.interfaces import Grid, Guide, Latent, Mask, Masker


class Scored(Masker):
    """Hide the patches of the highest score: a weighted sum of their latent, with a little noise."""

    needs = "backbone"

    def __init__(self, *, ratio: Annotated[float, Field(gt=0, lt=1)], width: int = 3) -> None:
        super().__init__()
        self.ratio = ratio
        self.score = nn.Linear(width, 1)
        self.latent: Latent | None = None

    def guided_by(self, guide: Guide) -> "Scored":
        """For the sample with this latent."""
        return self.view(latent=guide.latent)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU."""
        assert self.latent is not None, "drawn without a guide"
        score = self.score(self.latent.tokens).squeeze(-1).detach().cpu()
        noise = torch.rand(batch_size, grid.num_patches, generator=generator)
        return Mask.from_noise(score + 0.1 * noise, int(grid.num_patches * (1 - self.ratio)))
