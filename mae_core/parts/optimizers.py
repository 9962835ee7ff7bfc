"""Parameter groups and optimizers of the published recipes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import Encoder
from mae_core.interfaces.numbers import Positive, PositiveFloat, Rate, Share
from mae_registry import ConfigError

WeightDecay = Annotated[float, Field(ge=0)]


def weight_decay_groups(model: nn.Module, weight_decay: float, *, no_decay: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Parameters without decay (one axis, a bias, or a name that ends in one of `no_decay`), then those with.

    Frozen ones are left out. Class and mask tokens have three axes and so do decay unless named, as in the published MAE.
    """
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in _trained(model):
        groups[_decays(name, parameter, no_decay)].append(parameter)
    return [{"params": parameters, "weight_decay": weight_decay if decays else 0.0} for decays, parameters in groups.items()]


def layer_decay_groups(
    model: nn.Module, lr: float, layer_decay: float, weight_decay: float, *, no_decay: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """`weight_decay_groups` of each layer of the encoder, whose learning rate is `layer_decay` times that of the next one.

    What comes after the last block, such as a head, has `lr` itself. Raises ConfigError for a model without an encoder.
    """
    encoder = _encoder(model)
    depths, last = _depths(model, encoder), encoder.num_blocks + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in _trained(model):
        groups.setdefault((depths.get(name, last), _decays(name, parameter, no_decay)), []).append(parameter)
    scales = {layer: layer_decay ** (last - layer) for layer, _ in groups}
    return [
        {
            "params": groups[layer, decays],
            "weight_decay": weight_decay if decays else 0.0,
            "lr": lr * scales[layer],
            "lr_scale": scales[layer],
        }
        for layer, decays in sorted(groups)
    ]


def adamw(
    model: nn.Module,
    batch_size: int,
    *,
    base_lr: PositiveFloat | None = None,
    lr: PositiveFloat | None = None,
    base_batch: Positive = 256,
    betas: tuple[Rate, Rate] = (0.9, 0.95),
    weight_decay: WeightDecay = 0.05,
    no_decay: Sequence[str] = (),
    layer_decay: Share | None = None,
) -> torch.optim.Optimizer:
    """AdamW over `weight_decay_groups`, at the peak learning rate.

    Args:
        base_lr: learning rate for `base_batch` samples; the peak is base_lr * batch_size / base_batch (Goyal et al. 2017).
        lr: the peak itself, in place of base_lr.
        no_decay: last parts of the names of parameters that are not decayed, beside biases and those of one axis.
        layer_decay: the learning rate of each layer of the encoder, as a share of the next layer's (Clark et al. 2020). The
            head and what else comes after the last block learn at the peak; tokenizers, positions and the class token are below
            the first block. Fine-tuning of ViT-B has 0.65, of larger ones 0.75; null: all layers learn at the peak.
    """
    peak = _peak(batch_size, base_lr=base_lr, lr=lr, base_batch=base_batch)
    if layer_decay is None:
        groups = weight_decay_groups(model, weight_decay, no_decay=no_decay)
    else:
        groups = layer_decay_groups(model, peak, layer_decay, weight_decay, no_decay=no_decay)
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=betas, fused=True)  # one pass over memory instead of ten
    # in fp16, gradients are unscaled before the step, for their norm, and not by the step itself
    setattr(optimizer, "_step_supports_amp_scaling", False)  # noqa: B010 - torch's, and not public
    return optimizer


def lars(
    model: nn.Module,
    batch_size: int,
    *,
    base_lr: PositiveFloat | None = None,
    lr: PositiveFloat | None = None,
    base_batch: Positive = 256,
    momentum: Rate = 0.9,
    weight_decay: WeightDecay = 0.0,
    trust_coefficient: PositiveFloat = 0.001,
) -> torch.optim.Optimizer:
    """`Lars` over the parameters that are trained, at the peak learning rate; linear probing's optimizer.

    Args:
        base_lr, lr, base_batch: as of `adamw`. Linear probing has a base_lr of 0.1.
        momentum: the share of the last step that is added to the next one.
        weight_decay: of parameters of two axes and more; linear probing has none.
        trust_coefficient: see `Lars`.
    """
    peak = _peak(batch_size, base_lr=base_lr, lr=lr, base_batch=base_batch)
    parameters = [parameter for _, parameter in _trained(model)]
    return Lars(parameters, lr=peak, momentum=momentum, weight_decay=weight_decay, trust_coefficient=trust_coefficient)


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rates (You et al. 2017): stochastic gradient descent with momentum for very large batches.

    The gradient of a parameter of two axes and more, with its weight decay, is scaled to `trust_coefficient` times the norm of
    the parameter; not where either norm is zero. Biases and other parameters of one axis take their gradients as they are.
    """

    def __init__(
        self, params: Sequence[nn.Parameter], *, lr: float, momentum: float, weight_decay: float, trust_coefficient: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step. `closure`, if it is given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        if parameter.ndim > 1:
            gradient = _trusted(gradient + group["weight_decay"] * parameter, parameter, group["trust_coefficient"])
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(gradient)
        parameter.add_(state["momentum"], alpha=-group["lr"])


def _trusted(gradient: Tensor, parameter: Tensor, coefficient: float) -> Tensor:
    """The gradient at `coefficient` times the norm of the parameter, without waiting for the device to know the norms."""
    size, slope = parameter.norm(), gradient.norm()
    return gradient * torch.where((size > 0) & (slope > 0), coefficient * size / slope, 1.0)


def _peak(batch_size: int, *, base_lr: float | None, lr: float | None, base_batch: int) -> float:
    if (base_lr is None) == (lr is None):
        raise ConfigError("optimizer: give base_lr, or an absolute lr, and set the other to null")
    peak = lr if base_lr is None else base_lr * batch_size / base_batch
    assert peak is not None
    return peak


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _decays(name: str, parameter: nn.Parameter, no_decay: Sequence[str]) -> bool:
    exempt = name.endswith(".bias") or name.rpartition(".")[2] in no_decay
    return parameter.ndim > 1 and not exempt


def _encoder(model: nn.Module) -> Encoder:
    found = getattr(getattr(model, "backbone", None), "encoder", None)
    if not isinstance(found, Encoder):
        name = type(model).__name__
        raise ConfigError(f"optimizer.layer_decay: {name} has no encoder whose layers could learn at rates of their own")
    return found


def _depths(model: nn.Module, encoder: Encoder) -> dict[str, int]:
    """By name, the layer of each parameter that is not after the last block."""
    layers = {f"backbone.encoder.{name}": encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    inputs = {name: 0 for name, _ in model.named_parameters() if name.startswith("backbone.inputs.")}
    return {name: layer for name, layer in {**inputs, **layers}.items() if layer is not None}
