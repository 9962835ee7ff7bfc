"""One optimizer step over one effective batch."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from mae_core.interfaces import Batch, Decided, Losses, Schedule, Task
from mae_core.training.fabric import Fabric
from mae_core.training.world import Decision

MIN_SCALE = 1.0
"""In fp16, steps whose gradients overflow are skipped while the loss is scaled up. Below this, the gradients are at fault."""

Decide = Callable[[Losses, Tensor], Decision]
"""This device's part of the losses, and the norm of the gradients -> what all devices decide; `World.decide` is one."""


class NonFiniteStep(Decided):
    """The loss or the gradients of a step are NaN or infinite; the optimizer has not been stepped."""


def train_step(
    fabric: Fabric,
    task: Task[Any],
    model: Any,
    optimizer: Any,
    micro_batches: Iterable[tuple[Batch, Any]],
    weights: Mapping[str, Tensor],
    *,
    num_micro_batches: int,
    num_rows: int,
    decide: Decide,
    clip_grad: float | None = None,
) -> tuple[Decision, bool]:
    """Add up the gradients of all micro-batches, decide, and step. Returns the decision, and whether the step was taken.

    `model` and `optimizer` are set up by `fabric`. `weights` and `num_rows` are those of the whole effective batch, so that the
    step is the same however the batch is cut. Raises NonFiniteStep, with all weights as they were; but in fp16 gradients may
    overflow at first, and then the step is not taken, and the next loss scaled by less.
    """
    total = _Total()
    for index, (batch, inputs) in enumerate(micro_batches, start=1):
        # entered for the last one too: FSDP2 would go on with what Fabric left when the context was left before
        with fabric.no_backward_sync(model, enabled=index < num_micro_batches):
            losses = task.losses(model, batch, inputs, weights)
            loss = torch.stack(list(losses.parts.values())).sum()
            fabric.backward(loss * fabric.world_size)  # devices average their gradients, and a step needs their sum
        total.add(losses, share=len(next(iter(batch.values())).x) / num_rows)

    norm = _gradient_norm(fabric, optimizer)
    decision = decide(total.losses(), norm)
    if problem := _not_finite(decision, may_skip=_may_skip(fabric)):
        optimizer.zero_grad()
        raise NonFiniteStep(problem)
    is_finite = math.isfinite(decision.grad_norm)
    if clip_grad is not None and is_finite:
        torch.nn.utils.clip_grads_with_norm_(_with_gradients(optimizer), clip_grad, norm)
    optimizer.step()  # in fp16, it leaves the weights alone if a gradient is not finite
    optimizer.zero_grad()
    return decision, is_finite


class Scheduled:
    """Gives every group of an optimizer its learning rate and weight decay. Made before a checkpoint's state is loaded."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self._optimizer = optimizer
        self._schedule = schedule
        self._full = [(group["lr"], group.get("weight_decay", 0.0)) for group in optimizer.param_groups]

    def set(self, epoch: float) -> float:
        """Set those of a fractional epoch; returns the highest learning rate, for the log."""
        for group, (peak, decay) in zip(self._optimizer.param_groups, self._full, strict=True):
            scale = group.get("lr_scale", 1.0)
            group["lr"] = scale * self._schedule(epoch, peak / scale)
            if decay > 0:
                group["weight_decay"] = self._schedule.weight_decay(epoch, decay)
        return max(group["lr"] for group in self._optimizer.param_groups)


class _Total:
    """Losses and metrics of the micro-batches so far."""

    def __init__(self) -> None:
        self._parts: dict[str, Tensor] = {}
        self._metrics: dict[str, Tensor] = {}

    def add(self, losses: Losses, *, share: float) -> None:
        """`share`: that of the effective batch's rows, by which metrics are weighted."""
        _add(self._parts, {name: part.detach() for name, part in losses.parts.items()})
        _add(self._metrics, {name: share * metric.detach().float() for name, metric in losses.metrics.items()})

    def losses(self) -> Losses:
        return Losses(self._parts, self._metrics)


def _add(total: dict[str, Tensor], terms: Mapping[str, Tensor]) -> None:
    for name, term in terms.items():
        total[name] = total[name] + term if name in total else term


def _with_gradients(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None]


def _gradient_norm(fabric: Fabric, optimizer: Any) -> Tensor:
    """0-d: of all gradients together, as the optimizer will see them."""
    fabric.strategy.precision.unscale_gradients(optimizer.optimizer)
    norm = torch.nn.utils.get_total_norm(
        [parameter.grad for parameter in _with_gradients(optimizer) if parameter.grad is not None]
    )
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _not_finite(decision: Decision, *, may_skip: bool) -> str:
    """What is wrong with a step that must not be taken; empty: nothing."""
    if not math.isfinite(decision.loss):
        return f"the loss is {decision.loss}"
    if not math.isfinite(decision.grad_norm) and not may_skip:
        return f"the loss is finite ({decision.loss:.6g}), but the norm of its gradients is {decision.grad_norm}"
    return ""


def _may_skip(fabric: Fabric) -> bool:
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    return scaler is not None and scaler.get_scale() >= MIN_SCALE
