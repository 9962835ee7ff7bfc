"""Devices, precision, compilation, and how several devices share a model."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from mae_core.interfaces import Decoder, Encoder
from mae_core.training.fabric import (
    ClusterEnvironment,
    DDPStrategy,
    Fabric,
    LightningEnvironment,
    MixedPrecision,
    ModelParallelStrategy,
    SLURMEnvironment,
    Strategy,
    TorchElasticEnvironment,
)
from mae_core.training.launch import count_devices, place
from mae_core.training.settings import TrainSettings
from mae_registry import ConfigError

PATIENCE = timedelta(hours=1)
"""How long a device waits for another one that lives, such as the first, which alone writes."""


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
    """GPUs where there are any, in the recipe's precision. Raises ConfigError for what this machine does not have."""
    device = choose_device(settings.device).type
    devices, nodes = count_devices(settings)
    require_devices(device, devices)
    if place() is None and devices > 1:
        raise ConfigError(f"train.devices={devices}: start so many processes, with `mae pretrain` or with torchrun")
    precision = _precision(settings, device)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # a banner in each process
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(settings, devices * nodes),
        precision="32-true" if precision == "32-true" else None,
        plugins=[_environment(), *([] if precision == "32-true" else [Autocast(precision, device)])],
    )


def require_devices(kind: str, number: int) -> None:
    """Raise ConfigError if this machine has fewer GPUs than a run asks for."""
    if kind == "cuda" and number > torch.cuda.device_count():
        raise ConfigError(f"train.devices={number}, but this machine has {torch.cuda.device_count()}; leave it out to take all")


def _precision(settings: TrainSettings, device: str) -> Any:
    match settings.precision:
        case "auto" if device == "cuda":
            precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
        case "auto":
            precision = "32-true"
        case chosen:
            precision = chosen
    if precision == "16-mixed" and device == "cpu":
        raise ConfigError("train.precision=16-mixed needs a GPU; on a CPU use auto, 32-true or bf16-mixed")
    if precision == "16-mixed" and settings.strategy == "fsdp":
        raise ConfigError("train.precision=16-mixed cannot be used with train.strategy=fsdp; use bf16-mixed, 32-true, or ddp")
    return precision


def _environment() -> ClusterEnvironment:
    """What started this process. Fabric's own detection would take a shell inside a SLURM job for one of its tasks."""
    found = place()
    if found is None:
        return LightningEnvironment()
    return SLURMEnvironment(auto_requeue=False) if found.by == "srun" else TorchElasticEnvironment()


def _strategy(settings: TrainSettings, size: int) -> Strategy | str:
    if size == 1:
        return "auto"
    if settings.strategy == "fsdp":
        # its "auto" would take machines for data and devices for tensor parallelism
        return ModelParallelStrategy(share_weights, data_parallel_size=size, tensor_parallel_size=1, timeout=PATIENCE)
    # whether any are unused is known only in the backward pass: those of a modality without data in a step are
    return DDPStrategy(find_unused_parameters=True, timeout=PATIENCE)


def share_weights(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Give each device its part of every block's weights, and of all others together (FSDP2)."""
    for block in _blocks(model):
        fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def has_drop_path(model: nn.Module) -> bool:
    """Whether branches of blocks are left out at random in training, for which each device has random numbers of its own."""
    return any(isinstance(module, DropPath) and module.drop_prob > 0 for module in model.modules())


def compile_blocks(model: nn.Module) -> None:
    """Compile each block of encoders and decoders in place.

    Names of parameters stay as they are, blocks of one shape are compiled once, and what varies with the masks stays outside.
    """
    for block in _blocks(model):
        block.compile()


def recompute_blocks(model: nn.Module) -> None:
    """Keep only what goes into each trained block, and compute the rest again in the backward pass. Names stay as they are."""
    for block in _blocks(model):
        if any(parameter.requires_grad for parameter in block.parameters()):
            block.forward = _recomputed(block.forward)


def _recomputed(forward: Any) -> Any:
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The members of lists of modules inside encoders and decoders; of lists of stages, the blocks of each stage."""
    parts = [part for part in model.modules() if isinstance(part, Encoder | Decoder)]
    lists = (each for part in parts for each in part.modules() if isinstance(each, nn.ModuleList))
    for member in dict.fromkeys(member for each in lists for member in each):
        if not any(isinstance(inner, nn.ModuleList) for inner in member.modules()):
            yield member
