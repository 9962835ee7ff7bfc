"""The devices of a run, as a task sees them: which part of some work is whose, and what comes of all parts."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from mae_registry import MaeError

T = TypeVar("T")


class Devices(Protocol):
    """All devices of a run, seen from one of them, each of which has a process.

    Every process calls the same methods in the same order, or the others would wait for it.
    """

    @property
    def is_writer(self) -> bool:
        """Whether this is the process that writes files, and speaks to whoever watches."""
        ...

    def part(self, items: Sequence[T]) -> Sequence[T]:
        """Those of the items that are this device's: a contiguous slice.

        Lengths differ by at most one, so some devices get nothing when there are fewer items than devices. The parts of all
        devices, one after the other, are the items.
        """
        ...

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all devices in the devices' order, in every process. Tensors among them have to be on the CPU."""
        ...


class _Alone:
    """The only device."""

    is_writer = True

    def part(self, items: Sequence[T]) -> Sequence[T]:
        return items

    def gather(self, items: Sequence[T]) -> list[T]:
        return list(items)


ALONE: Devices = _Alone()
"""A single device, whose part is everything."""


class Decided(MaeError):
    """What ends a run by a decision: all processes raise it at the same point, so that they can still save together."""
