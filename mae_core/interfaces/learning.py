"""What optimizers, schedules and heads must offer."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mae_core.interfaces.encoder import Latent


class MakeOptimizer(Protocol):
    """An optimizer of kind `optimizers`: a function or a class, called as `make(model, batch_size, **recipe)`."""

    def __call__(self, model: nn.Module, batch_size: int, /, **recipe: Any) -> torch.optim.Optimizer:
        """An optimizer over the parameters of `model` that are trained, its groups at their peak learning rates.

        `batch_size` is the effective one, for recipes that scale the learning rate with it. A group may say by `lr_scale` which
        part of the recipe's peak its own is: its learning rate is then that part of the schedule's for the recipe's peak, also
        where this ends above 0.
        """
        ...


class Schedule(ABC):
    """The learning rate, and weight decay, over a run. Built as `schedule(num_epochs, **recipe)`."""

    @abstractmethod
    def __call__(self, epoch: float, peak: float) -> float:
        """The learning rate at a fractional epoch, of parameters whose peak is `peak`."""

    def weight_decay(self, epoch: float, full: float) -> float:
        """The weight decay at a fractional epoch, of parameters for which the optimizer has `full`: the same throughout.

        Not asked for parameters that are exempt from weight decay.
        """
        return full


class Head(nn.Module, ABC):
    """One score a class from what an encoder returned. Built as `head(width, num_classes, **recipe)`."""

    @abstractmethod
    def forward(self, latent: Latent) -> Tensor:
        """The latent of B samples, of width D -> (B, num_classes)."""
