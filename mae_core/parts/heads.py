"""Heads: what is read from a latent."""

from typing import Literal

from torch import Tensor, nn

from mae_core.interfaces import Head, Latent
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm


class LinearHead(Head):
    """One linear layer over one vector a sample.

    Args:
        pool: the mean of the patches' tokens, or the class token.
        norm: normalise the vector first (LayerNorm), as fine-tuning of mean-pooled tokens does.
    """

    def __init__(self, width: int, num_outputs: int, *, pool: Literal["mean", "cls"] = "mean", norm: bool = True) -> None:
        super().__init__()
        self.pool: Literal["mean", "cls"] = pool
        self.norm = LayerNorm(width) if norm else nn.Identity()
        self.linear = nn.Linear(width, num_outputs)
        self.apply(init_linear_and_norm)

    def forward(self, latent: Latent) -> Tensor:
        """(rows, num_outputs)."""
        return self.linear(self.norm(latent.pooled(self.pool)))
