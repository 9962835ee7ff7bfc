"""Tokenizers and positions: the parts that know a modality's geometry. B samples, N patches, P values a patch, D width."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from mae_core.interfaces.grid import Grid
from mae_core.interfaces.sample import NO_EXTRAS, Extras
from mae_registry import MaeError


class Tokenizer(nn.Module, ABC):
    """Samples <-> patches, and patches -> tokens. Built as `tokenizer(width, **recipe)`.

    `width` is None where the encoder embeds patches by itself; then there is nothing to embed with, and `embed` is not called.
    """

    grid: Grid
    patch_dim: int
    sample_shape: tuple[int, ...]
    """The shape of one sample, without the batch: (channels, height, width) for images."""

    @abstractmethod
    def patchify(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) -> (B, N, P). Raises MaeError on another shape."""

    @abstractmethod
    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, *sample_shape), the inverse."""

    @abstractmethod
    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) and which patches these are, (B, K) -> (B, K, D). Called with the patches that are kept only."""

    @abstractmethod
    def normalize(self, x: Tensor) -> Tensor:
        """What the dataset loads (e.g. uint8) -> the floats that the model takes."""

    @abstractmethod
    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse, as floats in the range that the modality's pictures show (images: 0 to 1)."""

    def for_shape(self, sample_shape: tuple[int, ...]) -> "Tokenizer":
        """A tokenizer with the weights of this one, which it shares, for samples of another shape.

        Raises MaeError for a shape that cannot be, and always where a tokenizer has only the size of its recipe.
        """
        raise MaeError(
            f"{type(self).__name__} takes samples of shape {self.sample_shape} only; for {sample_shape}, build the model from "
            "a recipe of that size"
        )


class Positions(nn.Module, ABC):
    """What tells tokens where they lie. Built as `positions(grid, width, **recipe)`."""

    @abstractmethod
    def forward(self, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K) ids of patches, and the samples' extras -> (B, K, D) or (1, K, D), added to their tokens."""

    def class_position(self) -> Tensor | None:
        """(1, 1, D), added to the class token; None where it has no position, as in most systems."""
        return None


MakePositions = Callable[[int], Positions]
"""Positions of one modality at any width."""
