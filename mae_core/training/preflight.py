"""What can be found wrong with a recipe before its data is touched, or memory taken."""

from typing import Any

import torch
from torch import nn

from mae_core.build import build_model
from mae_core.config import Config
from mae_core.interfaces import Task
from mae_core.registry import build_component
from mae_core.training.batching import check_device_batch
from mae_core.training.settings import TrainSettings


def build_task(config: Config) -> Task[Any]:
    """The recipe's task, without model or data yet."""
    return build_component("tasks", config["task"], config)


def check_recipe(config: Config) -> nn.Module:
    """The recipe's model on the meta device. Raises ConfigError for parts that do not fit each other, those of training too.

    A recipe may leave training out; what it has is checked.
    """
    with torch.device("meta"):
        if "task" not in config:
            return build_model(config)
        task = build_task(config)
        task.build_model(fresh=False)
    if "train" in config:
        settings = TrainSettings(**config["train"])
        check_device_batch(settings, num_joined=task.num_joined)
        if "optimizer" in config:
            build_component("optimizers", config["optimizer"], task.model, settings.batch_size)
        if "schedule" in config:
            build_component("schedules", config["schedule"], settings.epochs)
    return task.model
