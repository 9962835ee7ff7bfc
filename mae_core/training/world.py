"""The devices of a run: which part of a batch each takes, and what they decide together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one device says of a step, before its optimizer moves."""

    losses: Mapping[str, Tensor]
    """Its micro-batches' share in each part of the loss, 0-d."""
    metrics: Mapping[str, Tensor]
    """Means over its micro-batches, 0-d."""
    grad_norm: Tensor
    """0-d: of the gradients of the whole effective batch, the same on every device."""
    num_bad: int
    """Samples that could not be read and were replaced."""
    signal: int
    """The signal that asked this process to stop; 0: none."""
    save: bool
    """Whether a checkpoint is due."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What all devices agree on: a `Report` of the whole step."""

    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    grad_norm: float
    num_bad: int
    signal: int
    save: bool

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

    def decide(self, report: Report) -> Decision:
        """The one thing that devices tell each other at every step: the sums of losses, the worst of everything else."""
        numbers = [*report.losses.values(), *report.metrics.values(), report.grad_norm]
        # one transfer, since each makes the processor wait for the device
        values = torch.stack([number.detach().double() for number in numbers]).tolist()
        losses = dict(zip(report.losses, values, strict=False))
        metrics = dict(zip(report.metrics, values[len(losses) :], strict=False))
        return Decision(
            losses=losses,
            metrics=metrics,
            grad_norm=values[-1],
            num_bad=report.num_bad,
            signal=report.signal,
            save=report.save,
        )

    def gather(self, items: Sequence[T]) -> list[T]:
        """Those of all devices, in the order of the effective batch."""
        return list(items)
