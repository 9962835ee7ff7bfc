"""The loss of a pre-training on samples that it never trains on."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from mae_core.evaluation.reading import BATCH_SIZE
from mae_core.interfaces import Batch, Devices, Task
from mae_core.masking.sampling import derive_seed
from mae_core.training.plan import Key
from mae_core.training.sources import Source
from mae_core.training.stream import Samples, make_loader, running


def held_out_loss(
    task: Task[Any], sources: Mapping[str, Source], *, seed: int, num_workers: int | Literal["auto"], devices: Devices
) -> dict[str, float]:
    """`val/loss`, the mean over all samples, and where there are several sources that of each, `val/loss/SOURCE`.

    Samples are augmented as in training, so that the loss can be compared with that of training, but always alike, and their
    masks are the same every time: those of the end of training, where a schedule changes them. The devices share the samples;
    the loss does not depend on how many there are.
    """
    losses = {
        name: _mean_loss(task, name, source, seed=seed, num_workers=num_workers, devices=devices)
        for name, source in sources.items()
    }
    sizes = {name: len(source) * source.num_views for name, source in sources.items()}
    mean = sum(losses[name] * sizes[name] for name in sources) / sum(sizes.values())
    each = {f"val/loss/{name}": loss for name, loss in losses.items()} if len(losses) > 1 else {}
    return {"val/loss": mean, **each}


def _mean_loss(
    task: Task[Any], name: str, source: Source, *, seed: int, num_workers: int | Literal["auto"], devices: Devices
) -> float:
    """Over batches of always the same samples, each with a loss of its own, weighted by their numbers of samples."""
    device = next(task.model.parameters()).device
    firsts = devices.part(range(0, len(source), BATCH_SIZE))
    batches = [[Key(name, 0, index) for index in range(first, min(first + BATCH_SIZE, len(source)))] for first in firsts]
    samples = Samples({name: source}, derive_seed(seed, "held out"))
    loader = make_loader(samples, batches, num_workers=num_workers, pin_memory=device.type == "cuda")
    losses: list[Tensor] = []
    with running(loader) as loaded:
        for first, part in zip(firsts, loaded, strict=True):
            batch = task.normalize(part.to(device))
            num_rows = len(part.names) * source.num_views
            generator = torch.Generator().manual_seed(derive_seed(seed, "held out masks", name, first // BATCH_SIZE))
            losses.append(num_rows * _loss(task, name, batch, num_rows, generator))
    # added in the order of the batches, so that the sum is the same to the bit on any number of devices
    total = sum(devices.gather([loss.item() for loss in losses]))
    return total / (len(source) * source.num_views)


def _loss(task: Task[Any], name: str, batch: Batch, num_rows: int, generator: torch.Generator) -> Tensor:
    """0-d float64: of one batch, with the masks that the generator gives."""
    inputs = task.begin(name, num_rows, generator=generator, progress=1.0)
    weights = task.weigh(inputs)
    if weights is None:
        inputs = task.settle(batch, inputs)
        weights = task.weigh(inputs)
        assert weights is not None
    losses = task.losses(task.model, batch, inputs, weights)
    return torch.stack([loss.double() for loss in losses.parts.values()]).sum()
