"""Heads: what is read from a latent."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mae_core.interfaces.encoder import Latent


class Head(nn.Module, ABC):
    """A latent -> outputs of each row, such as logits of classes. Built as `head(width, num_outputs, **recipe)`.

    `width` is D of the latents.
    """

    @abstractmethod
    def forward(self, latent: Latent) -> Tensor:
        """(rows, num_outputs)."""
