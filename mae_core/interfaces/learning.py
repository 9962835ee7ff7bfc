"""What optimizers, learning-rate schedules and heads must offer."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mae_core.interfaces.encoder import Latent


class MakeOptimizer(Protocol):
    """An optimizer of kind `optimizers`: a function or a class, called as `make(model, batch_size, **recipe)`."""

    def __call__(self, model: nn.Module, batch_size: int, /, **recipe: Any) -> torch.optim.Optimizer:
        """An optimizer over the parameters of `model` that are trained, its groups at their peak learning rates.

        `batch_size` is the effective one, for recipes that scale the learning rate with it.
        """
        ...


class Schedule(Protocol):
    """The learning rate over a run. Built as `schedule(num_epochs, **recipe)`."""

    def __call__(self, epoch: float, peak: float) -> float:
        """The learning rate at a fractional epoch, of parameters whose peak is `peak`."""
        ...


class Head(nn.Module, ABC):
    """One score a class from what an encoder returned. Built as `head(width, num_classes, **recipe)`."""

    @abstractmethod
    def forward(self, latent: Latent) -> Tensor:
        """The latent of B samples, of width D -> (B, num_classes)."""
