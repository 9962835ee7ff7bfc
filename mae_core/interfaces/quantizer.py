"""Quantizers: frozen models that have learned a vocabulary of patches. B samples, N patches, P values a patch."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mae_core.interfaces.target import Seen


class Quantizer(nn.Module, ABC):
    """Samples -> the id of one token for each patch. Built as `quantizer(place, **recipe)`; `place` is its target's.

    It is frozen, and always in evaluation mode. Its weights are saved with the model, so a run that is resumed does not need
    the file that they came from.
    """

    num_tokens: int
    """Ids are whole numbers from 0 to below this."""
    has_picture: bool = False
    """Whether tokens can be shown as patches; then `to_patches` is there."""

    @abstractmethod
    def quantize(self, seen: Seen) -> Tensor:
        """(B, N) int64: the id of each patch, in raster order. Called without gradients."""

    def read_weights(self) -> None:
        """Read the weights from a file. Called once, when a model is made fresh, never for a checkpoint."""

    def to_patches(self, ids: Tensor) -> Tensor:
        """(B, N) ids -> patches (B, N, P), for a picture."""
        raise NotImplementedError(f"{type(self).__name__} has no picture")
