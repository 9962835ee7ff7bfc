"""Maskers made of maskers: `any`, `all`, `one_of`, `invert`. A recipe writes them as operators; see docs/maskers.md.

Built with their parts by position and the recipe's keys by keyword.
"""

import copy
import itertools
from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker, MaskSets
from mae_core.masking.counts import Ratio, count_kept, require_both, with_count
from mae_registry import ConfigError


class CompositeMasker(Masker):
    """Passes to its parts what it is told of training and of the samples."""

    def __init__(self, parts: Sequence[Masker]) -> None:
        self.parts = parts
        self.needs_patches = any(part.needs_patches for part in parts)

    def at(self, progress: float) -> Masker:
        """Made of its parts as they are then."""
        return self._of([part.at(progress) for part in self.parts])

    def guided_by(self, patches: Tensor) -> Masker:
        """Made of its parts as they are for these samples."""
        return self._of([part.guided_by(patches) for part in self.parts])

    def axes(self, grid: Grid) -> frozenset[str]:
        """Those of all its parts."""
        return frozenset[str]().union(*(part.axes(grid) for part in self.parts))

    def cases(self) -> Sequence[Masker]:
        """Every combination of its parts' cases."""
        return [self._of(parts) for parts in itertools.product(*(part.cases() for part in self.parts))]

    def _of(self, parts: Sequence[Masker]) -> "CompositeMasker":
        changed = copy.copy(self)
        changed.parts = parts
        return changed


class SetOperation(CompositeMasker):
    """Hidden sets combined patch by patch.

    Args:
        ratio: repair every sample to this share of hidden patches (of which the kept count is truncated) by random flips.
        ragged: let samples hide different numbers of patches, which only an encoder over all tokens takes.

    Needs neither where no two parts vary along the same axis: then the counts multiply, and every sample hides equally many.
    """

    def __init__(self, parts: Sequence[Masker], *, ratio: Ratio | None = None, ragged: bool = False) -> None:
        super().__init__(parts)
        if ratio is not None and ragged:
            raise ConfigError("`ratio` makes the counts equal and `ragged: true` leaves them unequal; keep one of the two")
        self.ratio = ratio
        self.ragged = ragged

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        masks = [_hidden_only(part(grid, batch_size, generator=generator)) for part in self.parts]
        hidden = reduce(self._combine, (mask.hidden for mask in masks))
        if self.ratio is not None:
            num_keep = count_kept(grid.num_patches, self.ratio, "kept")
            require_both(num_keep, grid.num_patches, self.ratio, grid)
            return Mask.from_hidden(with_count(hidden, grid.num_patches - num_keep, generator))
        if not self.ragged:
            self._require_exact(grid, masks)
        return Mask.from_hidden(hidden, ragged=self.ragged)

    @abstractmethod
    def _combine(self, first: Tensor, second: Tensor) -> Tensor: ...

    def _require_exact(self, grid: Grid, masks: Sequence[Mask]) -> None:
        """By the parts' axes, not by this batch's counts, which may be equal by chance."""
        advice = "give a `ratio:`, to which samples are repaired by random flips, or say `ragged: true`"
        if any(mask.ragged for mask in masks):
            raise ConfigError(f"a part of this mask hides a different number of patches in each sample; {advice}")
        for first, second in itertools.combinations(self.parts, 2):
            if shared := first.axes(grid) & second.axes(grid):
                named = ", ".join(axis for axis in grid.axes if axis in shared)
                raise ConfigError(f"two of its parts vary along {named}, so samples would hide different numbers; {advice}")


class AnyMasker(SetOperation):
    """Hidden where any part hides: Audio-MAE's time-and-frequency masking is `any` of one along t and one along f."""

    def _combine(self, first: Tensor, second: Tensor) -> Tensor:
        return first | second


class AllMasker(SetOperation):
    """Hidden where all parts hide."""

    def _combine(self, first: Tensor, second: Tensor) -> Tensor:
        return first & second


class InvertMasker(CompositeMasker):
    """Hidden where its part does not hide."""

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        (part,) = self.parts
        mask = _hidden_only(part(grid, batch_size, generator=generator))
        return Mask.from_hidden(~mask.hidden, ragged=mask.ragged)


class OneOfMasker(CompositeMasker):
    """One of its parts, drawn by weight.

    Args:
        per: draw once a batch, or once a sample, for which all parts must keep, and predict, equally many patches.
    """

    def __init__(self, parts: Sequence[Masker], weights: Sequence[float], *, per: Literal["batch", "sample"] = "batch") -> None:
        super().__init__(parts)
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.per = per

    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """A mask on the CPU, or what the drawn part returns; see the class."""
        num_draws = 1 if self.per == "batch" else batch_size
        chosen = torch.multinomial(self.weights, num_draws, replacement=True, generator=generator)
        if self.per == "batch":
            return self.parts[int(chosen)](grid, batch_size, generator=generator)
        drawn = [_single(part(grid, batch_size, generator=generator)) for part in self.parts]
        for what, counts in (("keep", [m.num_keep for m in drawn]), ("predict", [m.ids_predict.shape[1] for m in drawn])):
            if len(set(counts)) > 1:
                raise ConfigError(
                    f"one_of with `per: sample` needs parts of equal counts; on the grid {grid} they {what} "
                    f"{', '.join(map(str, counts))} patches"
                )
        return _pick_rows(drawn, chosen)

    def cases(self) -> Sequence[Masker]:
        """Its parts' cases, where a batch is of one of them."""
        return [case for part in self.parts for case in part.cases()] if self.per == "batch" else super().cases()


def _pick_rows(masks: Sequence[Mask], chosen: Tensor) -> Mask:
    """Row b of the mask number `chosen[b]`."""
    both = Mask.cat(masks)
    num_rows = len(chosen)
    rows = chosen * num_rows + torch.arange(num_rows)
    return both.map(lambda tensor: tensor[rows])


def _single(drawn: MaskSets) -> Mask:
    if isinstance(drawn, Mask):
        return drawn
    raise ConfigError("a masker that returns several index sets cannot be combined with others here")


def _hidden_only(drawn: MaskSets) -> Mask:
    """A mask that is nothing more than its hidden set: all others are kept, and it is predicted."""
    mask = _single(drawn)
    if mask.ids_restore is None and not mask.ragged:
        raise ConfigError(
            "a masker that itself chooses what is predicted cannot be a part of any, all or invert, which know hidden sets only"
        )
    return mask
