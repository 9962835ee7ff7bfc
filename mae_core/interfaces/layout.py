"""Layouts: the names and shapes of published checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Found:
    """What a layout sees in the names and shapes of published weights: a recipe of their model."""

    title: str
    """What they are, such as "MAE (He et al. 2022), encoder and decoder"."""
    extends: str
    """The shipped recipe of which the model is another size."""
    model: Mapping[str, Any]
    """What can be seen, as in a recipe's section `model`."""
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """What cannot be seen, by its key in the recipe: what the published models have, or None where nobody knows and the user
    has to say it."""
    complete: bool = True
    """Whether the weights are those of a whole model; else of a backbone alone."""


class Layout(ABC):
    """Names and shapes of a published family of checkpoints. Built as `layout()`."""

    modality: str
    """The modality that it is of: the layout is asked for the entry of a model that has it. Empty where it is of several at
    once, whose entries it finds by itself."""
    weights_file: str = ""
    """The name of the file of weights in a folder, for layouts that are read from a folder of files. Empty: a file of any name
    is enough."""

    @abstractmethod
    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Published tensors -> this model's, by its own names. Raises MaeError naming the tensor that does not fit.

        `entry` is the modality's name in the model; its parts are `backbone.inputs.ENTRY` and `modalities.ENTRY`.
        """

    @abstractmethod
    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """`tensors` with this model's names and shapes (its weights, or their gradients) by the published ones."""

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """What these weights are, if they are of this layout; None if they are not, or if the layout cannot tell.

        `beside`: the contents of the JSON files that lie beside the weights, by their names.
        """
        return None

    def files_beside(self, model: nn.Module, *, entry: str) -> dict[str, Any]:
        """The contents of JSON files, by their names, that others read together with the weights of `model`.

        Raises MaeError for a model that they cannot describe.
        """
        return {}
