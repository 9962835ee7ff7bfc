"""What can be found wrong with a recipe before its data is touched, or memory taken."""

import torch

from mae_core.build import build_component, build_model
from mae_core.config import Config
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.training.batching import require_divisor
from mae_core.training.settings import TrainSettings


def check_recipe(config: Config) -> MaskedAutoencoder:
    """The recipe's model on the meta device. Raises ConfigError for parts that do not fit each other, those of training too.

    A recipe may leave training out; what it has is checked.
    """
    with torch.device("meta"):
        model = build_model(config)
    if "train" in config:
        settings = TrainSettings(**config["train"])
        require_divisor(settings.device_batch_size, settings.batch_size)
        if "optimizer" in config:
            build_component("optimizers", config["optimizer"], model, settings.batch_size)
        if "schedule" in config:
            build_component("schedules", config["schedule"], settings.epochs)
    return model
