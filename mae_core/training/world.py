"""The devices of a run: which part of a batch each takes, and what they tell each other."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from mae_core.interfaces import Losses
from mae_core.training.devices import PATIENCE, make_fabric
from mae_core.training.fabric import Fabric
from mae_core.training.settings import TrainSettings
from mae_core.training.watch import Watch
from mae_registry import ConfigError, MaeError

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
    """The `Devices` of a run. Except for `share` and `part`, every method is called in all processes at the same point."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank
        self.size = fabric.world_size

    @classmethod
    def join(cls, settings: TrainSettings) -> Self:
        """Meet the other processes that were started with this one. Raises ConfigError for devices that are not there."""
        fabric = make_fabric(settings)
        fabric.launch()
        return cls(fabric)

    @property
    def is_writer(self) -> bool:
        """Whether this is the process that writes to the run's folder, and speaks to whoever watches."""
        return self.rank == 0

    @cached_property
    def aside(self) -> distributed.ProcessGroup:
        """All processes, for what another thread of each tells the others while the training goes on."""
        return cast(distributed.ProcessGroup, distributed.new_group(backend="gloo", timeout=PATIENCE))

    @contextmanager
    def together(self) -> Generator[None]:
        """All processes end together: with one error in one of them, and none waits for another that has ended."""
        if self.size == 1:
            yield
            return
        with Watch.join(rank=self.rank, size=self.size).telling():
            yield
            self.fabric.barrier()

    def share(self, total: int, *, group: int = 1) -> range:
        """Which of `total` samples of an effective batch are this device's: as equally many for each as there can be, in order.

        Groups of samples stay together. Raises ConfigError where there is not one for each device.
        """
        num_groups, rest = divmod(total, group)
        if rest or num_groups < self.size:
            kind = "samples" if group == 1 else f"groups of {group} samples, which the task takes together,"
            raise ConfigError(f"train.batch_size={total} cannot be divided into {kind} for each of {self.size} devices")
        own = self._slice(num_groups)
        return range(own.start * group, own.stop * group)

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """This device's items: a slice, as long for each as there can be; empty where there are fewer items than devices."""
        return items[self._slice(len(items))]

    def _slice(self, total: int) -> slice:
        each, rest = divmod(total, self.size)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))

    def first(self, make: Callable[[], T]) -> T:
        """What the writer makes, in all processes; an error of it, too."""
        made: T | None = None
        error: MaeError | None = None
        if self.is_writer:
            try:
                made = make()
            except MaeError as raised:
                error = raised
        made, error = self.fabric.broadcast((made, error))
        if error is not None:
            raise error
        return made  # pyright: ignore[reportReturnType] - there is no error, so it was made

    def agree_on_buffers(self, model: nn.Module) -> None:
        """Give all devices the first one's buffers, such as the statistics that a BatchNorm gathers on each device alone."""
        if self.size == 1:
            return
        saved = model.state_dict().keys()
        buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved}
        of_first = self.first(lambda: {name: buffer.cpu() for name, buffer in buffers.items()})
        for name, buffer in buffers.items():
            buffer.copy_(of_first[name])

    def smallest(self, number: int) -> int:
        """The smallest of all devices' numbers."""
        return min(self.gather([number]))

    def sum(self, weights: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The weights of all micro-batches of all devices."""
        total: dict[str, Tensor] = {}
        for own in weights:
            total = {name: total[name] + weight if total else weight for name, weight in own.items()}
        return {name: self.fabric.all_reduce(weight, reduce_op="sum") for name, weight in total.items()}  # pyright: ignore[reportReturnType]

    def decide(self, losses: Losses, grad_norm: Tensor, *, num_bad: int = 0, signal: int = 0, save: bool = False) -> Decision:
        """The one thing that devices tell each other at every step.

        Losses, metrics and bad samples add up, and what one of the devices was asked to do, all do. The norm is of gradients
        that they share already.
        """
        told = torch.tensor([num_bad, signal, save], dtype=torch.float64, device=grad_norm.device)
        numbers = [number.detach().double() for number in (*losses.parts.values(), *losses.metrics.values(), grad_norm)]
        # one transfer, since each makes the processor wait for the device
        table = self._all(torch.cat([torch.stack(numbers), told])).cpu()
        added, averaged, largest = table.sum(0).tolist(), table.mean(0).tolist(), table.amax(0).tolist()
        num_parts, num_metrics = len(losses.parts), len(losses.metrics)
        return Decision(
            losses=dict(zip(losses.parts, added, strict=False)),
            metrics=dict(zip(losses.metrics, added[num_parts:], strict=False)),
            grad_norm=averaged[num_parts + num_metrics],
            num_bad=int(added[-3]),
            signal=int(largest[-2]),
            save=bool(largest[-1]),
        )

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all devices in the devices' order, in every process."""
        if self.size == 1:
            return list(items)
        gathered: list[Any] = [None] * self.size
        distributed.all_gather_object(gathered, list(items))
        return [item for each in gathered for item in each]

    def _all(self, numbers: Tensor) -> Tensor:
        """(numbers,) of each device -> (devices, numbers) in all processes."""
        if self.size == 1:
            return numbers[None]
        table = numbers.new_empty(self.size * len(numbers))
        distributed.all_gather_into_tensor(table, numbers)
        return table.view(self.size, -1)
