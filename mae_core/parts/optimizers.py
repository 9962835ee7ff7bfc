"""Parameter groups and optimizers of the published recipes."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_registry import ConfigError

Beta = Annotated[float, Field(ge=0, lt=1)]


def weight_decay_groups(model: nn.Module, weight_decay: float, *, no_decay: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Parameters without decay (one axis, a bias, or a name that ends in one of `no_decay`), then those with.

    Frozen ones are left out. Class and mask tokens have three axes and so do decay unless named, as in the published MAE.
    """
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = name.endswith(".bias") or name.rpartition(".")[2] in no_decay
            groups[parameter.ndim > 1 and not exempt].append(parameter)
    return [{"params": parameters, "weight_decay": weight_decay if decays else 0.0} for decays, parameters in groups.items()]


def adamw(
    model: nn.Module,
    batch_size: int,
    *,
    base_lr: PositiveFloat | None = None,
    lr: PositiveFloat | None = None,
    base_batch: Positive = 256,
    betas: tuple[Beta, Beta] = (0.9, 0.95),
    weight_decay: Annotated[float, Field(ge=0)] = 0.05,
    no_decay: Sequence[str] = (),
) -> torch.optim.Optimizer:
    """AdamW over `weight_decay_groups`, at the peak learning rate.

    Args:
        base_lr: learning rate for `base_batch` samples; the peak is base_lr * batch_size / base_batch (Goyal et al. 2017).
        lr: the peak itself, in place of base_lr.
        no_decay: last parts of the names of parameters that are not decayed, beside biases and those of one axis.
    """
    if (base_lr is None) == (lr is None):
        raise ConfigError("optimizer: give base_lr, or an absolute lr, and set the other to null")
    peak = lr if base_lr is None else base_lr * batch_size / base_batch
    assert peak is not None
    return torch.optim.AdamW(weight_decay_groups(model, weight_decay, no_decay=no_decay), lr=peak, betas=betas)
