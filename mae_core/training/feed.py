"""What each step is given: its micro-batches, what belongs to their rows, and what the loss of the step is divided by."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mae_core.interfaces import Batch, Task
from mae_core.masking.sampling import derive_seed
from mae_core.training.plan import Plan
from mae_core.training.stream import Loaded
from mae_core.training.world import World

MicroBatch = tuple[Batch, Any]
"""Samples on the device, as the model takes them, and the task's inputs of their rows."""


@dataclass(frozen=True)
class Fed:
    """What one step is given."""

    micro_batches: Iterable[MicroBatch]
    """Each is loaded when it is asked for."""
    num_micro_batches: int
    """The number on this device."""
    num_rows: int
    """The samples of the whole effective batch, all views counted."""
    weights: Mapping[str, Tensor]
    """The weights of the whole effective batch."""
    loaded: list[Loaded]
    """What has been loaded so far: its names, and what had to be replaced."""


class Feed:
    """Takes what the loader of a session gives, one step after the other, as this device's part of each effective batch."""

    def __init__(
        self,
        task: Task[Any],
        plan: Plan,
        batches: Iterator[Loaded],
        *,
        device_batch: Mapping[str, int],
        device: torch.device,
        world: World,
    ) -> None:
        self._task, self._plan, self._batches = task, plan, batches
        self._device_batch, self._device, self._world = device_batch, device, world
        self._begun: dict[int, Any] = {}

    def prepare(self, step: int) -> None:
        """Settle what belongs to step `step` beside its samples, which costs nothing while the device is at the step before."""
        if step < self._plan.num_steps:
            self._begun = {step: self._begin(step)}

    def step(self, step: int) -> Fed:
        """What step `step` is given. If data cannot be loaded, MaeError is raised, here or where its micro-batches are used."""
        source = self._plan.source(step)
        pieces = self._pieces(source)
        inputs, weights = self._begun.pop(step) if step in self._begun else self._begin(step)
        loaded: list[Loaded] = []
        micro_batches: Iterable[MicroBatch] = self._load(pieces, inputs, loaded)
        if weights is None:  # inputs that depend on what is in the samples can be weighed when these are all there
            micro_batches = [(batch, self._task.settle(batch, own)) for batch, own in micro_batches]
            weights = self._world.sum(self._weigh(own) for _, own in micro_batches)
        return Fed(self._with_noise(step, micro_batches), len(pieces), self._num_rows(source), weights, loaded)

    def _begin(self, step: int) -> tuple[Any, Mapping[str, Tensor] | None]:
        """What the task wants to know of the rows, and their weights where these are known before the samples are."""
        source = self._plan.source(step)
        generator = torch.Generator().manual_seed(derive_seed(self._plan.seed, "mask", step))
        inputs = self._task.begin(source, self._num_rows(source), generator=generator, progress=step / self._plan.num_steps)
        return inputs, self._task.weigh(inputs)

    def _num_rows(self, source: str) -> int:
        return self._plan.batch_size * self._task.sources[source].num_views

    def _pieces(self, source: str) -> list[slice]:
        """The rows of each of this device's micro-batches."""
        share = self._world.share(self._plan.batch_size, group=self._task.num_joined)
        size, num_views = self._device_batch[source], self._task.sources[source].num_views
        starts = range(share.start, share.stop, size)
        return [slice(start * num_views, min(start + size, share.stop) * num_views) for start in starts]

    def _load(self, pieces: Iterable[slice], inputs: Any, loaded: list[Loaded]) -> Iterator[MicroBatch]:
        for rows in pieces:
            loaded.append(next(self._batches))
            yield self._task.normalize(loaded[-1].to(self._device)), inputs[rows]

    def _with_noise(self, step: int, micro_batches: Iterable[MicroBatch]) -> Iterator[MicroBatch]:
        """Each with random numbers of its own for what is random in a forward pass, such as drop path."""
        for micro, micro_batch in enumerate(micro_batches):
            torch.manual_seed(derive_seed(self._plan.seed, "noise", step, micro, self._world.rank))
            yield micro_batch

    def _weigh(self, inputs: Any) -> Mapping[str, Tensor]:
        weights = self._task.weigh(inputs)
        assert weights is not None, f"{type(self._task).__name__}.settle must give inputs that can be weighed"
        return weights
