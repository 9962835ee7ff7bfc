"""How many samples go through one device at once."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning_fabric import Fabric

from mae_core.training.settings import TrainSettings
from mae_core.training.sources import Source
from mae_registry import ConfigError, MaeError

MAX_ON_CPU = 64


def choose_device_batch(model: Any, source: Source, settings: TrainSettings, fabric: Fabric) -> int:
    """`train.device_batch_size`, or for "auto" the largest divisor of the device's share that fits its memory.

    Where all samples hide equally many patches, every divisor gives the same step but for rounding, and this is a matter of
    speed. Raises ConfigError for one that does not divide.
    """
    share, rest = divmod(settings.batch_size, fabric.world_size)
    if rest:
        raise ConfigError(f"train.batch_size={settings.batch_size} is not divisible by the {fabric.world_size} devices")
    wanted = settings.device_batch_size
    require_divisor(wanted, share)
    if wanted != "auto":
        return wanted
    candidates = _divisors(share)
    if fabric.device.type != "cuda":
        return max(size for size in candidates if size <= MAX_ON_CPU)
    for size in reversed(candidates):
        if _fits(model, list(source.datasets), size * source.num_views, fabric):
            return size
    raise MaeError("not even one sample fits the device's memory; choose a smaller model")


def require_divisor(device_batch_size: int | Literal["auto"], share: int) -> None:
    """Raise ConfigError if `train.device_batch_size` does not divide the device's share of the batch."""
    if device_batch_size != "auto" and share % device_batch_size:
        raise ConfigError(
            f"train.device_batch_size={device_batch_size} does not divide {share}, the device's share of train.batch_size; "
            f"use one of {', '.join(map(str, _divisors(share)))}"
        )


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _fits(model: Any, modalities: Sequence[str], size: int, fabric: Fabric) -> bool:
    """Try a forward and a backward pass on zeros, with room for the optimizer's two moments."""
    tokenizers = {name: model.module.parts(name).tokenizer for name in modalities}
    try:
        moments = [torch.empty_like(p) for p in model.parameters() for _ in range(2)]
        zeros = {name: torch.zeros(size, *t.sample_shape, device=fabric.device) for name, t in tokenizers.items()}
        x = {name: tokenizers[name].normalize(zeros[name]) for name in modalities}
        for progress in (0.0, 1.0):  # a schedule may keep most at either end
            masks = model.module.draw_masks(modalities, size, generator=torch.Generator().manual_seed(0), progress=progress)
            fabric.backward(model(x, masks=masks).loss * 0)
        del moments, zeros, x
    except torch.OutOfMemoryError:
        fits = False
    else:
        fits = True
    model.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    return fits
