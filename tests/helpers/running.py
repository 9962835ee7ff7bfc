"""Training runs in this process, for the tests."""

import contextlib
import os
import signal

import pytest
import torch
from torch.distributed.tensor import DTensor

from mae_core.runs.logs import read_metrics
from mae_core.training.preflight import build_task
from mae_core.training.run import train
from mae_core.training.settings import TrainSettings
from mae_core.training.trainer import Trainer
from mae_core.training.world import World


class Display:
    """Calls `on_step` after each step, in place of showing it to a person; keeps what is said."""

    def __init__(self, on_step=lambda step: None):
        self.on_step = on_step
        self.said = []

    def update(self, *, step, epoch, loss, samples_per_s):
        self.on_step(step)

    def message(self, text):
        self.said.append(text)


def run(config, folder, *, resume=False, on_step=lambda step: None):
    """Returns what was said."""
    display = Display(on_step)

    def make_display(num_steps, num_epochs, *, first_step):
        return contextlib.nullcontext(display)

    train(config, folder, world=world_of(config), make_display=make_display, resume=resume)
    return display.said


def world_of(config):
    """The devices of the recipe."""
    return World.join(TrainSettings(**config["train"]))


def first_step(config, folder):
    """The gradients that the optimizer got in a run's first step, and that step's line in the log."""
    task = build_task(config)
    task.open_data()
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    trainer = Trainer(task, config, folder, world=world_of(config))
    gradients = {}

    def note(*_):
        if not gradients:
            gradients.update({name: whole(p.grad) for name, p in task.model.named_parameters() if p.grad is not None})

    trainer.optimizer.optimizer.register_step_pre_hook(note)
    trainer.train(lambda *_, first_step: contextlib.nullcontext(Display()))
    return gradients, read_metrics(folder / "metrics.jsonl")[0]


def assert_same_gradients(step, expected):
    """Two results of `first_step`, but for rounding; all other numbers of the step, too."""
    (gradients, logged), (whole_ones, entry) = step, expected
    assert logged["loss"] == pytest.approx(entry["loss"], rel=1e-6)
    numbers = [{name: each[name] for name in each if name not in ("wall_s", "samples_per_s")} for each in (logged, entry)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)
    assert gradients.keys() == whole_ones.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, whole_ones[name], rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def whole(tensor):
    """A copy, put together where several devices share the tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert not differing


def interrupt_at(step, number=signal.SIGINT):
    """Ctrl-C, or another signal, from within, between `step` and the next, which will be finished."""

    def on_step(now):
        if now == step:
            os.kill(os.getpid(), number)

    return on_step
