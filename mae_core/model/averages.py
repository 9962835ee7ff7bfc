"""Moving averages of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


@torch.no_grad()
def move_averages(averages: Sequence[Tensor], weights: Sequence[Tensor], *, decay: float) -> None:
    """In place, and in one fused call: decay x average + (1 - decay) x weight.

    Of weights that several devices share, each device moves its own part: averages are divided among them alike.
    """
    own, new = ([_own_part(tensor.detach()) for tensor in tensors] for tensors in (averages, weights))
    torch._foreach_lerp_(own, [weight.to(average.dtype) for average, weight in zip(own, new, strict=True)], 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def _own_part(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
