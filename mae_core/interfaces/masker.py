"""Maskers: which patches are hidden, and which are predicted."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from mae_core.interfaces.grid import Grid
from mae_core.interfaces.mask import Mask, MaskSets
from mae_registry import PluginError

if TYPE_CHECKING:
    from mae_core.interfaces.encoder import Latent

Needs = Literal["grid", "patches", "backbone"]


@dataclass(frozen=True)
class Guide:
    """What a masker that depends on content is given of one sample."""

    patches: Tensor
    """(1, N, P), normalised, on the model's device."""
    latent: "Latent | None" = None
    """What the model's own backbone makes of the whole sample, without gradients: the tokens of this modality, in raster order
    and with ids of its grid. Only for maskers that need the backbone."""


class Masker(nn.Module, ABC):
    """Draws which patches are hidden, knowing the grid and a generator only. Built as `masker(**recipe)`.

    Only `forward` must be written. The other methods answer what a recipe that combines maskers has to know of its parts.
    A parameter named `ratio` is what `schedule` varies, and `mae reconstruct --mask-ratio` replaces: keep it as an attribute of
    this name and read it when a mask is drawn, or write `with_ratio`.
    """

    needs: Needs = "grid"
    """What masks depend on beside the grid. For "patches" and "backbone" each sample is masked on its own, by `guided_by`."""

    @abstractmethod
    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """A mask on the CPU, or several for methods that encode several contexts that keep different numbers of patches.

        Every row hides equally many, unless the mask is ragged. Raises ConfigError if it cannot mask this grid.
        A guided masker draws `batch_size` masks of its one sample: `repeat` asks for more than one.
        """

    def at(self, progress: float) -> "Masker":
        """This masker at a share of training, 0 to 1: itself, unless it follows a schedule."""
        return self

    def for_batch(self, generator: torch.Generator) -> "Masker":
        """This masker once it is settled what all samples of a batch share: itself, unless that is which masker draws them."""
        return self

    def guided_by(self, guide: Guide) -> "Masker":
        """This masker for one sample: itself, unless it needs more than the grid."""
        return self

    def with_ratio(self, ratio: float) -> "Masker":
        """This masker with another share of hidden patches. It has the same parameters, and this one does not change."""
        if not hasattr(self, "ratio"):
            raise PluginError(f"{type(self).__name__} has no attribute `ratio` to change; give it a method `with_ratio`")
        return self if self.ratio == ratio else self.view(ratio=ratio)

    def axes(self, grid: Grid) -> frozenset[str]:
        """The axes along which masks vary; what is hidden is so along all others. Maskers of disjoint axes combine exactly."""
        return frozenset(grid.axes)

    def cases(self) -> Sequence["Masker"]:
        """What masks may come from, if that differs from batch to batch. Each is tried when a model is built."""
        return [self]

    def view(self, **changes: object) -> Self:
        """A shallow copy with some attributes changed. It shares this one's parameters, and this one stays as it is."""
        changed = copy.copy(self)
        for registered in ("_parameters", "_buffers", "_modules"):  # else a module set on the copy were set on the original
            setattr(changed, registered, getattr(self, registered).copy())
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed


class JointMasker(nn.Module, ABC):
    """Draws masks of paired modalities together. Built as `masker(**recipe)`, from the section `model.masker`."""

    @abstractmethod
    def forward(self, grids: Mapping[str, Grid], batch_size: int, *, generator: torch.Generator) -> dict[str, Mask]:
        """Masks on the CPU. Every sample hides equally many patches of all modalities together, of one alone it may not."""
