"""How many samples go through one device at once."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning_fabric import Fabric

from mae_core.interfaces import Sample, Task
from mae_core.training.plan import Key
from mae_core.training.settings import TrainSettings
from mae_core.training.stream import Samples
from mae_core.training.world import World
from mae_registry import ConfigError, MaeError

MAX_ON_CPU = 64


def choose_device_batch(
    task: Task[Any], source: str, settings: TrainSettings, *, fabric: Fabric, world: World, model: Any
) -> int:
    """`train.device_batch_size`, or for "auto" the largest divisor of the device's share that fits its memory.

    Every divisor gives the same step but for rounding, unless the model has a BatchNorm or drops paths: this is a matter of
    speed. `model` is the task's as `fabric` wraps it.
    Raises ConfigError for one that does not divide.
    """
    if settings.batch_size % world.size:
        raise ConfigError(f"train.batch_size={settings.batch_size} is not divisible by the {world.size} devices")
    share = len(world.share(settings.batch_size))
    require_divisor(settings.device_batch_size, share, num_joined=task.num_joined)
    if settings.device_batch_size != "auto":
        return settings.device_batch_size
    candidates = _divisors(share, task.num_joined)
    if fabric.device.type != "cuda":
        return max(size for size in candidates if size <= MAX_ON_CPU)
    sample = Samples({source: task.sources[source]}, settings.seed)[Key(source, 0, 0)].to(fabric.device)
    for size in reversed(candidates):
        if _fits(task, source, _repeated(sample, size), size * task.sources[source].num_views, fabric, model):
            return size
    raise MaeError("not even one sample fits into the memory of the device; choose a smaller model")


def require_divisor(device_batch_size: int | Literal["auto"], share: int, *, num_joined: int = 1) -> None:
    """Raise ConfigError if `train.device_batch_size` does not divide the device's share of the batch.

    `num_joined`: see `Task`; what goes through a device at once has to be a multiple of it.
    """
    allowed = _divisors(share, num_joined)
    if not allowed:
        raise ConfigError(
            f"the task takes samples in groups of {num_joined}, into which {share}, the device's share of train.batch_size, "
            "cannot be divided"
        )
    if device_batch_size == "auto" or device_batch_size in allowed:
        return
    if share % device_batch_size:
        problem = f"does not divide {share}, the device's share of train.batch_size"
    else:
        problem = f"is not divisible by {num_joined}, the number of samples that the task takes together"
    raise ConfigError(f"train.device_batch_size={device_batch_size} {problem}; use one of {', '.join(map(str, allowed))}")


def _divisors(number: int, multiple_of: int = 1) -> list[int]:
    return [size for size in range(multiple_of, number + 1, multiple_of) if number % size == 0]


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
