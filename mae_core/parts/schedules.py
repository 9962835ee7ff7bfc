"""Learning-rate schedules of the published recipes."""

import math
from typing import Annotated

from pydantic import Field

from mae_registry import ConfigError


class Cosine:
    """Linear warm-up from `warmup_lr`, then half a cosine to `min_lr`; per step, with fractional epochs (the published MAE)."""

    def __init__(
        self,
        num_epochs: int,
        *,
        warmup_epochs: Annotated[float, Field(ge=0)] = 40,
        warmup_lr: Annotated[float, Field(ge=0)] = 0.0,
        min_lr: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        if warmup_epochs >= num_epochs:
            raise ConfigError(
                f"schedule.warmup_epochs is {warmup_epochs:g}, but train.epochs is {num_epochs}; warm up for less than the run"
            )
        self.num_epochs = num_epochs
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.min_lr = min_lr

    def __call__(self, epoch: float, peak: float) -> float:
        """The learning rate at a fractional epoch, given its peak."""
        if epoch < self.warmup_epochs:
            return self.warmup_lr + (peak - self.warmup_lr) * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.num_epochs - self.warmup_epochs)
        return self.min_lr + (peak - self.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))
