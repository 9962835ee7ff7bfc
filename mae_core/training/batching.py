"""How many samples go through one device at once."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mae_core.interfaces import Sample, Task
from mae_core.training.fabric import Fabric
from mae_core.training.plan import Key
from mae_core.training.settings import TrainSettings
from mae_core.training.stream import Samples
from mae_core.training.world import World
from mae_registry import ConfigError, MaeError

MAX_ON_CPU = 64


def choose_device_batch(
    task: Task[Any], source: str, settings: TrainSettings, *, fabric: Fabric, world: World, model: Any
) -> int:
    """`train.device_batch_size`, or for "auto" the largest that fits the memory of every device.

    Every size gives the same step but for rounding, unless the model has a BatchNorm or drops paths: this is a matter of speed.
    The share of the batch is cut into pieces as equal as they can be. `model` is the task's as `fabric` wraps it.
    """
    size, joined = settings.device_batch_size, task.num_joined
    share = len(world.share(settings.batch_size, group=joined))
    if size != "auto":
        return size
    if fabric.device.type != "cuda":
        return next(size for size in _sizes(share, joined) if size <= max(MAX_ON_CPU, joined))
    require_choice(settings, kind=fabric.device.type, num_devices=world.size)
    sample = Samples({source: task.sources[source]}, settings.seed)[Key(source, 0, 0)].to(fabric.device)
    with fabric.no_backward_sync(model):  # each device tries for itself
        fitting = (
            size
            for size in _sizes(share, joined)
            if _fits(task, source, _repeated(sample, size), size * task.sources[source].num_views, fabric, model)
        )
        found = world.smallest(next(fitting, 0))
    if found == 0:
        raise MaeError(
            "not even one sample fits into the memory of the device; choose a smaller model, or train.recompute=true"
        )
    return found


def check_device_batch(settings: TrainSettings, *, num_joined: int) -> None:
    """Raise ConfigError if samples that the task takes together would not go through a device together."""
    if settings.batch_size % num_joined:
        raise ConfigError(
            f"the task takes samples in groups of {num_joined}, into which train.batch_size={settings.batch_size} cannot be "
            "divided"
        )
    if settings.device_batch_size != "auto" and settings.device_batch_size % num_joined:
        raise ConfigError(
            f"train.device_batch_size={settings.device_batch_size} must be divisible by {num_joined}, the number of samples "
            "that the task takes together"
        )


def require_choice(settings: TrainSettings, *, kind: str, num_devices: int) -> None:
    """Raise ConfigError where the device batch would have to be found out by devices that share the weights."""
    if kind == "cuda" and settings.strategy == "fsdp" and num_devices > 1 and settings.device_batch_size == "auto":
        raise ConfigError("train.device_batch_size: with train.strategy=fsdp, say how many samples go through a device at once")


def _sizes(share: int, multiple_of: int) -> Iterator[int]:
    """Of the pieces of a share, the largest first: whole, in halves, in thirds, and so on."""
    num_groups, last = share // multiple_of, 0
    for num_pieces in range(1, num_groups + 1):
        size = math.ceil(num_groups / num_pieces) * multiple_of
        if size != last:
            yield size
        last = size


def _repeated(batch: Mapping[str, Sample], size: int) -> dict[str, Sample]:
    def repeat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.repeat(size, *[1] * (tensor.ndim - 1))

    return {
        entry: Sample(repeat(sample.x), {name: repeat(extra) for name, extra in sample.extras.items()})
        for entry, sample in batch.items()
    }


def _fits(task: Task[Any], source: str, batch: dict[str, Sample], num_rows: int, fabric: Fabric, model: Any) -> bool:
    """Try a forward and a backward pass, with room for the optimizer's two moments. Leaves no trace in the model."""
    buffers = [(buffer, buffer.clone()) for buffer in task.model.buffers()]  # a BatchNorm remembers what it saw
    try:
        moments = [torch.empty_like(p) for p in task.model.parameters() if p.requires_grad for _ in range(2)]
        samples = task.normalize(batch)
        for progress in (0.0, 1.0):  # a schedule may keep most at either end
            inputs = task.begin(source, num_rows, generator=torch.Generator().manual_seed(0), progress=progress)
            weights = task.weigh(inputs)
            if weights is None:
                inputs = task.settle(samples, inputs)
                weights = task.weigh(inputs)
                assert weights is not None
            losses = task.losses(model, samples, inputs, weights)
            fabric.backward(torch.stack(list(losses.parts.values())).sum() * 0)
        del moments, samples, losses
    except torch.OutOfMemoryError:
        fits = False
    else:
        fits = True
    task.model.zero_grad(set_to_none=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    torch.cuda.empty_cache()
    return fits
