"""One optimizer step over one effective batch."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mae_core.masking.sampling import Drawn
from mae_registry import MaeError

MicroBatch = tuple[Mapping[str, Tensor], Mapping[str, Drawn]]
"""Normalised samples and their masks, by modality."""


class NonFiniteLoss(MaeError):
    """The loss of a step is NaN or infinite; the optimizer has not been stepped."""


def train_step(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    micro_batches: Iterable[MicroBatch],
    *,
    num_micro_batches: int,
    clip_grad: float | None = None,
) -> dict[str, float]:
    """Accumulate the gradient of the mean loss over the micro-batches, then step.

    Returns each modality's loss, from before the step; their sum is what was minimised.

    `model` and `optimizer` are set up by `fabric`. Where all rows hide equally many patches, the mean over equal micro-batches
    is the mean over the batch; with ragged or joint masks, micro-batches count alike though their patches differ in number.
    Raises NonFiniteLoss with all weights as they were.
    """
    totals: dict[str, Tensor] = {}
    for index, (samples, masks) in enumerate(micro_batches):
        last = index + 1 == num_micro_batches
        with fabric.no_backward_sync(model, enabled=not last):
            out = model(samples, masks=masks)
            fabric.backward(out.loss / num_micro_batches)
        for name, loss in out.losses.items():
            totals[name] = totals.get(name, torch.zeros_like(loss)) + loss.detach() / num_micro_batches
    losses = {name: float(total) for name, total in totals.items()}
    if not math.isfinite(sum(losses.values())):
        optimizer.zero_grad()
        raise NonFiniteLoss(f"the loss is {sum(losses.values())}")
    if clip_grad is not None:
        fabric.clip_gradients(model, optimizer, max_norm=clip_grad)
    optimizer.step()
    optimizer.zero_grad()
    return losses


def set_lr(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
