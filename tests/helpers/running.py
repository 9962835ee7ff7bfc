"""Training runs in this process, for the tests."""

import contextlib
import os
import signal

import torch

from mae_core.training.run import train


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

    train(config, folder, make_display=make_display, resume=resume)
    return display.said


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert not differing


def interrupt_at(step):
    """Ctrl-C, from within."""

    def on_step(now):
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step
