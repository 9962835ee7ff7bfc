"""Published trainings, step by step, through the project's own optimizer, schedule and training step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mae_core.evaluation.certificate import (
    GRADIENT,
    LOSS,
    WEIGHT,
    largest_error,
    largest_error_of,
    relative_error,
    worst,
)
from mae_core.interfaces import Batch, Check, Numbers, StepInputs, Task
from mae_core.layouts.published import export_state_dict
from mae_core.registry import build_component
from mae_core.training.step import Scheduled, train_step
from mae_core.training.world import World


class Trajectory:
    """A training of a task as a file's recipe has it. Keeps what each step came to."""

    def __init__(self, task: Task[Any], recipe: Mapping[str, Any]) -> None:
        self.task = task
        self.steps_per_epoch: int = recipe["steps_per_epoch"]
        optimizer = build_component("optimizers", _optimizer_section(recipe), task.model, recipe["batch"])
        self._scheduled = Scheduled(optimizer, build_component("schedules", _schedule_section(recipe), recipe["epochs"]))
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.first_gradients: dict[str, Tensor] = {}
        optimizer.register_step_pre_hook(self._note_gradients)
        self._fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
        self._world = World(self._fabric)
        self._model, self._optimizer = self._fabric.setup(task.model.train(), optimizer)

    def step(self, batch: Batch, inputs: StepInputs) -> None:
        """One optimizer step, as the trainer takes it."""
        self.rates.append(self._scheduled.set(len(self.rates) / self.steps_per_epoch))
        weights = self.task.weigh(inputs)
        assert weights is not None, "published inputs are known before the samples are seen"
        decision, _ = train_step(
            self._fabric,
            self.task,
            self._model,
            self._optimizer,
            [(batch, inputs)],
            weights,
            num_micro_batches=1,
            decide=self._world.decide,
        )
        self.losses.append(decision.loss)

    def _note_gradients(self, *_: object) -> None:
        if not self.losses:
            named = self.task.model.named_parameters()
            self.first_gradients = {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


def check_trajectory(
    name: str, task: Task[Any], steps: Sequence[tuple[Batch, StepInputs]], numbers: Numbers, *, layout: str
) -> Iterator[Check]:
    """The gradients of the first step, the losses, the learning rates and the final weights of a published training.

    The task's model has the published weights from before.
    """
    trajectory = Trajectory(task, numbers.recipe)
    for batch, inputs in steps:
        trajectory.step(batch, inputs)
    expected = numbers.under("grad_step0")
    found = export_state_dict(task.model, layout=layout, tensors=trajectory.first_gradients)
    # a layout adds fixed tables, such as those of positions, which have no gradient
    tables = {key for key, x in export_state_dict(task.model, layout=layout).items() if torch.equal(x, found[key])}
    error = largest_error_of({key: found[key] for key in found.keys() - tables}, expected)
    yield Check(f"{name}: gradients of step 1", error, GRADIENT, f"{len(expected)} tensors, absolute")
    losses = zip(trajectory.losses, numbers["output/losses"], strict=True)
    error = worst(relative_error(torch.tensor(own), published) for own, published in losses)
    fall = f"{len(steps)} steps, {trajectory.losses[0]:.3f} to {trajectory.losses[-1]:.3f}"
    yield Check(f"{name}: losses", error, LOSS, f"{fall}, relative")
    rates = torch.tensor(trajectory.rates, dtype=torch.float64)
    yield Check(f"{name}: learning rates", largest_error(rates, numbers["output/lrs"]), 1e-12)
    final = _without_key_biases(export_state_dict(task.model, layout=layout))
    error = largest_error_of(final, _without_key_biases(numbers.under("final_state_dict")))
    yield Check(f"{name}: final weights", error, WEIGHT, "key biases excepted, absolute")


def _optimizer_section(recipe: Mapping[str, Any]) -> dict[str, Any]:
    section = {key: recipe[key] for key in ("lr", "weight_decay", "betas") if key in recipe}
    return {"name": recipe["optimizer"].lower(), **section}


def _schedule_section(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "cosine", "warmup_epochs": recipe["warmup_epochs"], "min_lr": recipe["min_lr"]}


def _without_key_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A key bias has no true gradient (softmax ignores it), so Adam amplifies rounding there: it is set to zero."""
    found = dict(weights)
    for name, tensor in weights.items():
        if name.endswith("qkv.bias"):
            query, key, value = tensor.chunk(3)
            found[name] = torch.cat([query, torch.zeros_like(key), value])
    return found
