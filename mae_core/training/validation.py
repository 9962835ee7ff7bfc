"""Measuring a model on held-out data in the middle of its training, without a trace in the training."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


def evenly_spaced(count: int, num_steps: int) -> set[int]:
    """Up to `count` of the numbers of steps done, 1 to `num_steps`, the last among them."""
    count = min(count, num_steps)
    return {num_steps * (i + 1) // count for i in range(count)}


@contextmanager
def undisturbed(model: nn.Module) -> Generator[None]:
    """Evaluation mode, without gradients; afterwards all modes and all global random generators are as they were before."""
    modes = [(module, module.training) for module in model.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(_gpus(model)), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _gpus(model: nn.Module) -> set[torch.device]:
    """Those that the model is on, which are all that this process uses."""
    return {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
