"""Counts FLOPs, and what is kept for the backward pass, by the part of the model that causes them."""

import functools
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry, sdpa_flop, shape_wrapper

OTHER = "other"
"""The part of what happens outside of all parts."""


@dataclass
class Tally:
    """What one part has caused."""

    forward: int = 0
    """FLOPs of the forward pass; a multiplication and the addition that follows are two."""
    backward: int = 0
    """FLOPs of the backward pass."""
    saved: int = 0
    """Bytes that the forward pass keeps for the backward pass, beside weights and their copies."""


class Meter(TorchDispatchMode):
    """Measures what is run in it.

    An operation of the forward pass belongs to the part that is running, and one of the backward pass to the part in which its
    inputs were saved. Where one part runs inside another, all belongs to the outer one.

    FLOPs are those of matrix products, convolutions and attention. What fused attention computes a second time in the backward
    pass is not counted.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        """`weights`: tensors that are there anyway, so that they are not counted as kept."""
        super().__init__()
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._part = OTHER
        self._is_backward = False
        self._known = {_storage(weight) for weight in weights}
        self._weights = frozenset(self._known)
        self._copies: set[StorageWeakRef] = set()
        self.copied = 0
        """Bytes of copies of weights, in another type, that are kept for the backward pass."""

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """What runs here belongs to this part, unless another one is running."""
        before = self._part
        self._part = name if before == OTHER else before
        try:
            yield
        finally:
            self._part = before

    def watch(self, module: nn.Module, method: str, name: str) -> None:
        """From now on, calls of this method of this module belong to the part `name`."""
        original: Callable[..., Any] = getattr(module, method)

        @functools.wraps(original)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(module, method, measured)

    def saving(self) -> saved_tensors_hooks:
        """The context for the forward pass."""
        return saved_tensors_hooks(self._pack, self._unpack)

    def backward(self, loss: Tensor) -> None:
        """The backward pass."""
        self._is_backward = True
        loss.backward()
        self._is_backward, self._part = False, OTHER

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation, and count it."""
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and _storage(args[0]) in self._weights:
            self._copies.add(_storage(out))
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            flops = formula(*args, **(kwargs or {}), out_val=out)
            tally = self.tallies[self._part]
            if self._is_backward:
                tally.backward += flops
            else:
                tally.forward += flops
        return out

    def _pack(self, tensor: Tensor) -> tuple[Tensor, str]:
        storage = _storage(tensor)
        if storage not in self._known:
            self._known.add(storage)
            if storage in self._copies:
                self.copied += tensor.untyped_storage().nbytes()
            else:
                self.tallies[self._part].saved += tensor.untyped_storage().nbytes()
        return tensor, self._part

    def _unpack(self, packed: tuple[Tensor, str]) -> Tensor:
        """Called right before the backward pass of the operation that saved the tensor."""
        tensor, self._part = packed
        return tensor


def _storage(tensor: Tensor) -> StorageWeakRef:
    """What tells the memory of tensors apart; as long as it is there, no other memory is equal to it."""
    return StorageWeakRef(tensor.untyped_storage())


def _convolution_backward(grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *others: Any, out_shape: object) -> int:
    """Gradients of the input and of the weights, each as much as the forward pass. torch's own formula ignores groups."""
    *_, is_transposed, _, _, wanted = others
    return sum(wanted[:2]) * conv_flop_count(list(x), list(weight), list(grad), transposed=is_transposed)


_aten = torch.ops.aten
_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    _aten.convolution_backward: shape_wrapper(_convolution_backward),
    # torch's registry has the attention of a GPU alone
    _aten._scaled_dot_product_flash_attention_for_cpu: shape_wrapper(
        lambda query, key, value, *_, **__: sdpa_flop(query, key, value)
    ),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: shape_wrapper(
        lambda grad, query, key, value, *_, **__: 2 * sdpa_flop(query, key, value)  # two products for each of the forward pass
    ),
}
