"""The loss of a pre-training on samples that it never trains on."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from mae_core.interfaces import Task
from mae_core.masking.sampling import derive_seed
from mae_core.training.plan import Key
from mae_core.training.sources import Source
from mae_core.training.stream import Samples, make_loader, running

BATCH_SIZE = 64


def held_out_loss(
    task: Task[Any], sources: Mapping[str, Source], *, seed: int, num_workers: int | Literal["auto"]
) -> dict[str, float]:
    """`val/loss`, the mean over all samples, and where there are several sources that of each, `val/loss/SOURCE`.

    Samples are augmented as in training, so that the loss can be compared with that of training, but always alike, and their
    masks are the same every time: those of the end of training, where a schedule changes them.
    """
    losses = {name: _mean_loss(task, name, source, seed=seed, num_workers=num_workers) for name, source in sources.items()}
    sizes = {name: len(source) * source.num_views for name, source in sources.items()}
    mean = sum(losses[name] * sizes[name] for name in sources) / sum(sizes.values())
    each = {f"val/loss/{name}": loss for name, loss in losses.items()} if len(losses) > 1 else {}
    return {"val/loss": mean, **each}


def _mean_loss(task: Task[Any], name: str, source: Source, *, seed: int, num_workers: int | Literal["auto"]) -> float:
    """Over batches of always the same samples, each with a loss of its own, weighted by their numbers of samples."""
    device = next(task.model.parameters()).device
    keys = [Key(name, 0, index) for index in range(len(source))]
    batches = [keys[first : first + BATCH_SIZE] for first in range(0, len(keys), BATCH_SIZE)]
    samples = Samples({name: source}, derive_seed(seed, "held out"))
    loader = make_loader(samples, batches, num_workers=num_workers, pin_memory=device.type == "cuda")
    total = torch.zeros((), dtype=torch.float64, device=device)
    with running(loader) as loaded:
        for number, (part, chosen) in enumerate(zip(loaded, batches, strict=True)):
            batch = task.normalize(part.to(device))
            num_rows = len(chosen) * source.num_views
            generator = torch.Generator().manual_seed(derive_seed(seed, "held out masks", name, number))
            inputs = task.begin(name, num_rows, generator=generator, progress=1.0)
            weights = task.weigh(inputs)
            if weights is None:
                inputs = task.settle(batch, inputs)
                weights = task.weigh(inputs)
                assert weights is not None
            losses = task.losses(task.model, batch, inputs, weights)
            total += num_rows * torch.stack([loss.double() for loss in losses.parts.values()]).sum()
    return total.item() / (len(source) * source.num_views)
