"""float32 where the rest of a step is computed in less."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast of operations on the device of `x`: what a model has to predict should not depend on its precision."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
