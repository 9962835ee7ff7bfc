"""Layouts: the names and shapes of published checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Layout(ABC):
    """Names and shapes of a published family of checkpoints. Built as `layout()`."""

    modality: str
    """The modality that it is of: the layout is asked for the entry of a model that has it. Empty where it is of several at
    once, whose entries it finds by itself."""

    @abstractmethod
    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Published tensors -> this model's, by its own names. Raises MaeError naming the tensor that does not fit.

        `entry` is the modality's name in the model; its parts are `backbone.inputs.ENTRY` and `modalities.ENTRY`.
        """

    @abstractmethod
    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """`tensors` with this model's names and shapes (its weights, or their gradients) by the published ones."""
