"""What the names and shapes of published weights say about their model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FAMILY_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""The attention heads of the published encoders, by their width: no shape shows them."""
TOLERANCE = 1e-5
"""How far a published fixed table may lie from ours: rounding, not another rule."""


def has(weights: Mapping[str, Tensor], *names: str) -> bool:
    """Whether there are tensors of all these names, or whose names begin with those that end with a dot."""
    return all(name in weights or (name.endswith(".") and any(key.startswith(name) for key in weights)) for name in names)


def depth(weights: Mapping[str, Tensor], blocks: str) -> int:
    """The number of blocks that are named BLOCKS.NUMBER."""
    return len({name.removeprefix(f"{blocks}.").split(".")[0] for name in weights if name.startswith(f"{blocks}.")})


def transformer(weights: Mapping[str, Tensor], blocks: str, *, heads: int | None = None) -> dict[str, Any]:
    """The section of an encoder or decoder whose weights are named BLOCKS.NUMBER.mlp.fc1.weight and so on.

    The number of heads cannot be seen in the weights' shapes.
    """
    hidden, width = weights[f"{blocks}.0.mlp.fc1.weight"].shape
    sizes: dict[str, Any] = {"width": width, "depth": depth(weights, blocks), "mlp_ratio": mlp_ratio(hidden, width)}
    return sizes if heads is None else {**sizes, "heads": heads}


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio that makes an MLP of a transformer of this width as wide as `hidden`."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def take_heads(section: dict[str, Any], said: int | None, family: Mapping[int, int], key: str) -> dict[str, Any]:
    """Put the heads that a file beside the weights states into `section`; where none does, what is assumed of `key`."""
    if said is None:
        return {key: family.get(section["width"])}
    section["heads"] = said
    return {}


def square_sides(num_patches: int, patch: Sequence[int]) -> list[int] | None:
    """Height and width of square samples that have so many patches; None where no square has."""
    side = math.isqrt(num_patches)
    return [side * length for length in patch] if side * side == num_patches else None


def patches(weight: Tensor, *, channels_known: int = 3) -> dict[str, Any]:
    """What the convolution of a patch embedding, (D, C, *sides), says about a tokenizer.

    Where the channels are not the known ones, whose mean and deviation are the tokenizer's defaults, values are not normalised.
    """
    channels, *sides = weight.shape[1:]
    section: dict[str, Any] = {"patch_size": sides, "channels": channels}
    if channels != channels_known:
        section |= {"mean": [0.0] * channels, "std": [1.0] * channels}
    return section


def rounding(table: Tensor) -> float:
    """How far values of this type, at most 1, may lie from those that are meant."""
    return max(TOLERANCE, torch.finfo(table.dtype).eps)
