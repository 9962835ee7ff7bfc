"""Schedules of the published recipes."""

import math
from typing import Annotated

from pydantic import Field

from mae_core.interfaces import Schedule
from mae_registry import ConfigError


class Cosine(Schedule):
    """Linear warm-up from `warmup_lr`, then half a cosine to `min_lr`; per step, with fractional epochs (the published MAE).

    Args:
        initial_weight_decay: the weight decay at the start. From there it goes to the optimizer's along half a cosine over the
            whole run (I-JEPA raises it from 0.04 to 0.4); null: it is the optimizer's throughout.
    """

    def __init__(
        self,
        num_epochs: int,
        *,
        warmup_epochs: Annotated[float, Field(ge=0)] = 40,
        warmup_lr: Annotated[float, Field(ge=0)] = 0.0,
        min_lr: Annotated[float, Field(ge=0)] = 0.0,
        initial_weight_decay: Annotated[float, Field(ge=0)] | None = None,
    ) -> None:
        if warmup_epochs >= num_epochs:
            raise ConfigError(
                f"schedule.warmup_epochs is {warmup_epochs:g}, but train.epochs is {num_epochs}; "
                "the warm-up must be shorter than the run: "
                f"give schedule.warmup_epochs={max(0, num_epochs // 10)} too, or more epochs"
            )
        self.num_epochs = num_epochs
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.min_lr = min_lr
        self.initial_weight_decay = initial_weight_decay

    def __call__(self, epoch: float, peak: float) -> float:
        """The learning rate at a fractional epoch, given its peak."""
        if epoch < self.warmup_epochs:
            return self.warmup_lr + (peak - self.warmup_lr) * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.num_epochs - self.warmup_epochs)
        return _half_cosine(peak, self.min_lr, progress)

    def weight_decay(self, epoch: float, full: float) -> float:
        """The weight decay at a fractional epoch."""
        if self.initial_weight_decay is None:
            return full
        return _half_cosine(self.initial_weight_decay, full, epoch / self.num_epochs)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
