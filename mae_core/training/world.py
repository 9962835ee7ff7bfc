"""The devices of a run: which part of a batch each takes, and what they decide together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mae_core.interfaces import Losses

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What all devices agree on before the optimizer moves."""

    losses: Mapping[str, float]
    """The parts of the step's loss."""
    metrics: Mapping[str, float]
    grad_norm: float
    """The norm of the gradients of the whole effective batch."""
    num_bad: int
    """Attempts to read a sample that failed."""
    signal: int
    """The signal that asked a process to stop; 0: none."""
    save: bool
    """Whether a checkpoint is due."""

    @property
    def loss(self) -> float:
        """What the step minimises."""
        return sum(self.losses.values())


class World:
    """All devices, seen from one of them.

    Every method is called by every device at the same point of a step. A run has one device so far; what several will
    exchange passes through here already, so that nothing else has to change for them.
    """

    def __init__(self, fabric: Fabric) -> None:
        assert fabric.world_size == 1, "several devices are not wired yet"
        self.rank = fabric.global_rank
        self.size = fabric.world_size

    @property
    def is_writer(self) -> bool:
        """Whether this is the device that writes to the run's folder."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Which of `total` rows, or samples, of an effective batch are this device's: equally many for each, in order."""
        each, rest = divmod(total, self.size)
        assert rest == 0, f"{total} rows for {self.size} devices"
        return range(self.rank * each, (self.rank + 1) * each)

    def sum(self, weights: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The weights of all micro-batches of all devices."""
        total: dict[str, Tensor] = {}
        for own in weights:
            total = {name: total[name] + weight if total else weight for name, weight in own.items()}
        return total

    def decide(self, losses: Losses, grad_norm: Tensor, *, num_bad: int = 0, signal: int = 0, save: bool = False) -> Decision:
        """The one thing that devices tell each other at every step.

        Losses and bad samples add up, metrics are averaged, and what one of the devices was asked to do, all do. The norm is of
        gradients that they share already.
        """
        numbers = [*losses.parts.values(), *losses.metrics.values(), grad_norm]
        # one transfer, since each makes the processor wait for the device
        values = iter(torch.stack([number.detach().double() for number in numbers]).tolist())
        return Decision(
            losses={name: next(values) for name in losses.parts},
            metrics={name: next(values) for name in losses.metrics},
            grad_norm=next(values),
            num_bad=num_bad,
            signal=signal,
            save=save,
        )

    def gather(self, items: Sequence[T]) -> list[T]:
        """The values of all devices, in the order of the effective batch."""
        return list(items)
