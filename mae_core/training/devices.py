"""Devices, precision and compilation."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn

from mae_core.interfaces import Decoder, Encoder
from mae_core.training.settings import TrainSettings
from mae_registry import ConfigError


class Autocast(MixedPrecision):
    """torch.autocast of the model's operations.

    What the model is given stays as it is: a target, a time stamp or a weight is not rounded to 16 bits before it is used.
    """

    def convert_input(self, data: Any) -> Any:
        """The same."""
        return data


def choose_device(asked: str = "auto") -> torch.device:
    """The device that was asked for; "auto" is a GPU where there is one. Raises ConfigError where it is not there."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no GPU that torch can use; `mae doctor` says why. Leave the device out, or take cpu")
    return torch.device("cuda" if torch.cuda.is_available() and asked != "cpu" else "cpu")


def make_fabric(settings: TrainSettings) -> Fabric:
    """One device, in its precision. Raises ConfigError for what this machine does not have."""
    device = choose_device(settings.device).type
    match settings.precision:
        case "auto" if device == "cuda":
            precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
        case "auto":
            precision = "32-true"
        case chosen:
            precision = chosen
    if precision == "32-true":
        return Fabric(accelerator=device, devices=1, precision="32-true")
    if precision == "16-mixed" and device == "cpu":
        raise ConfigError("train.precision=16-mixed needs a GPU; on a CPU use auto, 32-true or bf16-mixed")
    return Fabric(accelerator=device, devices=1, plugins=[Autocast(precision, device)])


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of encoders and decoders in place.

    Names of parameters stay as they are, blocks of one shape are compiled once, and what varies with the masks stays outside.
    """
    for block in _blocks(model):
        block.compile()


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The members of lists of modules inside encoders and decoders; of lists of stages, the blocks of each stage."""
    parts = [part for part in model.modules() if isinstance(part, Encoder | Decoder)]
    members = {member for part in parts for each in part.modules() if isinstance(each, nn.ModuleList) for member in each}
    for member in members:
        if not any(isinstance(inner, nn.ModuleList) for inner in member.modules()):
            yield member
