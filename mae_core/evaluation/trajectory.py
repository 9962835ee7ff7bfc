"""Published trainings, step by step, through the project's own optimizer, schedule and training step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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
from mae_core.training.fabric import Fabric
from mae_core.training.step import Scheduled, train_step
from mae_core.training.world import World

RATE = 1e-12
"""Tolerance of learning rates, absolute."""


class Trajectory:
    """A training of a task as a file's recipe has it. Keeps what each step came to.

    `optimizer`: the optimizer's section in our recipe, for what the file's recipe leaves open.
    """

    def __init__(self, task: Task[Any], recipe: Mapping[str, Any], *, optimizer: Mapping[str, Any] = {}) -> None:
        self.task = task
        self.steps_per_epoch: int = recipe["steps_per_epoch"]
        section = {**optimizer, "base_lr": None, **_optimizer_section(recipe)}
        self.groups = build_component("optimizers", section, task.model, recipe["batch"])
        self._scheduled = Scheduled(self.groups, build_component("schedules", _schedule_section(recipe), recipe["epochs"]))
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.group_rates: list[list[float]] = []
        self.first_gradients: dict[str, Tensor] = {}
        self.groups.register_step_pre_hook(self._note_gradients)
        self._fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
        self._world = World(self._fabric)
        self._model, self._optimizer = self._fabric.setup(task.model.train(), self.groups)

    def step(self, batch: Batch, inputs: StepInputs) -> None:
        """One optimizer step, as the trainer takes it."""
        self.rates.append(self._scheduled.set(len(self.rates) / self.steps_per_epoch))
        self.group_rates.append([group["lr"] for group in self.groups.param_groups])
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
            num_rows=len(next(iter(batch.values())).x),
            decide=self._world.decide,
        )
        self.losses.append(decision.loss)

    def _note_gradients(self, *_: object) -> None:
        if not self.losses:
            named = self.task.model.named_parameters()
            self.first_gradients = {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


def check_trajectory(
    name: str,
    task: Task[Any],
    steps: Sequence[tuple[Batch, StepInputs]],
    numbers: Numbers,
    *,
    layout: str,
    optimizer: Mapping[str, Any] = {},
) -> Iterator[Check]:
    """What a file has of a published training: gradients of the first step, losses, learning rates, final weights.

    The task's model has the published weights from before. `optimizer` as for `Trajectory`.
    """
    trajectory = Trajectory(task, numbers.recipe, optimizer=optimizer)
    for batch, inputs in steps:
        trajectory.step(batch, inputs)
    if any(tensor.startswith("grad_step0/") for tensor in numbers.tensors):
        yield _check_gradients(name, trajectory, numbers.under("grad_step0"), layout=layout)
    losses = zip(trajectory.losses, numbers["output/losses"], strict=True)
    error = worst(relative_error(torch.tensor(own), published) for own, published in losses)
    fall = f"{len(steps)} steps, {trajectory.losses[0]:.3f} to {trajectory.losses[-1]:.3f}"
    yield Check(f"{name}: losses", error, LOSS, f"{fall}, relative")
    yield from _check_rates(name, trajectory, numbers, layout=layout)
    final = _without_key_biases(export_state_dict(task.model, layout=layout))
    # a file may leave out what is frozen
    expected = _without_key_biases({**numbers.weights, **numbers.under("final_state_dict")})
    yield Check(f"{name}: final weights", largest_error_of(final, expected), WEIGHT, "key biases excepted, absolute")


def check_groups(
    name: str, optimizer: torch.optim.Optimizer, model: nn.Module, groups: Sequence[Mapping[str, Any]], *, layout: str
) -> Check:
    """The groups of an optimizer as a file states them: published names, `lr_scale` and `weight_decay` of each."""
    names: dict[int, set[str]] = {}
    for parameter, number in _group_of_each(optimizer, model, layout=layout).items():
        names.setdefault(number, set()).add(parameter)
    found = {
        (frozenset(names.get(number, ())), _rounded(group.get("lr_scale", 1.0)), _rounded(group["weight_decay"]))
        for number, group in enumerate(optimizer.param_groups)
    }
    expected = {(frozenset(g["names"]), _rounded(g["lr_scale"]), _rounded(g["weight_decay"])) for g in groups}
    return Check(f"{name}: layer decay", len(found ^ expected), 0, f"{len(expected)} groups by names, rate and weight decay")


def _check_gradients(name: str, trajectory: Trajectory, expected: Mapping[str, Tensor], *, layout: str) -> Check:
    model = trajectory.task.model
    found = export_state_dict(model, layout=layout, tensors=trajectory.first_gradients)
    # a layout adds fixed tables, such as those of positions, which have no gradient
    tables = {key for key, x in export_state_dict(model, layout=layout).items() if torch.equal(x, found[key])}
    error = largest_error_of({key: found[key] for key in found.keys() - tables}, expected)
    return Check(f"{name}: gradients of step 1", error, GRADIENT, f"{len(expected)} tensors, absolute")


def _check_rates(name: str, trajectory: Trajectory, numbers: Numbers, *, layout: str) -> Iterator[Check]:
    """The learning rates, and those of all groups, where the file has them."""
    if "output/lrs" in numbers.tensors:
        rates = torch.tensor(trajectory.rates, dtype=torch.float64)
        yield Check(f"{name}: learning rates", largest_error(rates, numbers["output/lrs"]), RATE)
    if "output/group_lrs" in numbers.tensors:
        groups = numbers.metadata["groups"]
        yield check_groups(name, trajectory.groups, trajectory.task.model, groups, layout=layout)
        number_of = _group_of_each(trajectory.groups, trajectory.task.model, layout=layout)
        own = [number_of.get(group["names"][0], 0) for group in groups]
        rates = torch.tensor(trajectory.group_rates, dtype=torch.float64)[:, own]
        error = largest_error(rates, numbers["output/group_lrs"])
        yield Check(f"{name}: learning rates", error, RATE, f"of {len(groups)} groups")


def _group_of_each(optimizer: torch.optim.Optimizer, model: nn.Module, *, layout: str) -> dict[str, int]:
    """By published names, the number of the group that a parameter is in; not where it is in several, or in none."""
    numbers = {weight: number for number, group in enumerate(optimizer.param_groups) for weight in group["params"]}
    marked = {name: torch.full_like(w, numbers[w]) for name, w in model.named_parameters() if w in numbers}
    exported = export_state_dict(model, layout=layout, tensors=marked)
    return {name: int(marks.flatten()[0]) for name, marks in exported.items() if bool((marks == marks.flatten()[0]).all())}


def _rounded(number: float) -> float:
    return round(number, 12)


def _optimizer_section(recipe: Mapping[str, Any]) -> dict[str, Any]:
    stated = ("lr", "weight_decay", "betas", "layer_decay", "momentum", "trust_coefficient")
    return {"name": recipe["optimizer"].lower(), **{key: recipe[key] for key in stated if key in recipe}}


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
