"""Maskers made of maskers: `any`, `all`, `one_of`, `invert`, `repeat`. A recipe writes them as operators; see docs/maskers.md.

Built with their parts by position and the recipe's keys by keyword.
"""

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Literal, cast

import torch
from torch import Tensor, nn

from mae_core.interfaces import Grid, Guide, Mask, Masker, MaskSets
from mae_core.interfaces.masker import Needs
from mae_core.interfaces.numbers import Positive
from mae_core.masking.counts import Ratio, count_kept, require_both, with_count
from mae_registry import ConfigError


class CompositeMasker(Masker):
    """Passes to its parts what it is told of training and of the samples. The parts' parameters are its own."""

    parts: Sequence[Masker]

    def __init__(self, parts: Iterable[Masker]) -> None:
        super().__init__()
        self.parts = _as_modules(parts)
        self.needs = _most_needed(self.parts)

    def at(self, progress: float) -> Masker:
        """The same masker, made of its parts as they are at that time."""
        return self._of([part.at(progress) for part in self.parts])

    def for_batch(self, generator: torch.Generator) -> Masker:
        """The same masker, made of its parts as they are for this batch."""
        return self._of([part.for_batch(generator) for part in self.parts])

    def guided_by(self, guide: Guide) -> Masker:
        """The same masker, made of its parts as they are for this sample."""
        return self._of([part.guided_by(guide) for part in self.parts])

    def axes(self, grid: Grid) -> frozenset[str]:
        """The axes of all its parts."""
        return frozenset[str]().union(*(part.axes(grid) for part in self.parts))

    def cases(self) -> Sequence[Masker]:
        """Every combination of its parts' cases."""
        return [self._of(parts) for parts in itertools.product(*(part.cases() for part in self.parts))]

    def _of(self, parts: Sequence[Masker]) -> Masker:
        """The same of other parts; itself where none is another."""
        if all(new is old for new, old in zip(parts, self.parts, strict=True)):
            return self
        return self.view(parts=_as_modules(parts), needs=_most_needed(parts))


def _as_modules(parts: Iterable[Masker]) -> Sequence[Masker]:
    """A list that registers what is in it."""
    return cast("Sequence[Masker]", nn.ModuleList(parts))


def _most_needed(parts: Iterable[Masker]) -> Needs:
    needed = {part.needs for part in parts}
    return "backbone" if "backbone" in needed else "patches" if "patches" in needed else "grid"


class SetOperation(CompositeMasker):
    """Hidden sets combined patch by patch.

    Args:
        ratio: repair every sample to this share of hidden patches (of which the kept count is truncated) by random flips.
        ragged: let samples hide different numbers of patches, which only an encoder over all tokens takes.

    Needs neither where no two parts vary along the same axis: then the counts multiply, and every sample hides equally many.
    """

    def __init__(self, parts: Iterable[Masker], *, ratio: Ratio | None = None, ragged: bool = False) -> None:
        super().__init__(parts)
        if ratio is not None and ragged:
            raise ConfigError("`ratio` makes the counts equal and `ragged: true` leaves them unequal; keep one of the two")
        self.ratio = ratio
        self.ragged = ragged

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        masks = [_hidden_only(part(grid, batch_size, generator=generator)) for part in self.parts]
        repeats = _common(
            [mask.repeats for mask in masks], "its parts have {} contexts of each sample; put `repeat` around the whole"
        )
        hidden = reduce(self._combine, (mask.hidden for mask in masks))
        if self.ratio is not None:
            num_keep = count_kept(grid.num_patches, self.ratio, "kept")
            require_both(num_keep, grid.num_patches, self.ratio, grid)
            hidden = with_count(hidden, grid.num_patches - num_keep, generator)
        elif not self.ragged:
            self._require_exact(grid, masks)
        return replace(Mask.from_hidden(hidden, ragged=self.ragged), repeats=repeats)

    @abstractmethod
    def _combine(self, first: Tensor, second: Tensor) -> Tensor: ...

    def _require_exact(self, grid: Grid, masks: Sequence[Mask]) -> None:
        """Decide by the axes of the parts, because the counts of this batch may be equal by chance."""
        advice = (
            "give it a `ratio:`, so that random patches are hidden or shown until the counts are equal, or say `ragged: true`"
        )
        if any(mask.ragged for mask in masks):
            raise ConfigError(f"a part of this mask hides a different number of patches in each sample; {advice}")
        for first, second in itertools.combinations(self.parts, 2):
            if shared := first.axes(grid) & second.axes(grid):
                named = ", ".join(axis for axis in grid.axes if axis in shared)
                raise ConfigError(
                    f"two of its parts vary along {named}, so samples would hide different numbers of patches; {advice}"
                )


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

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        (part,) = self.parts
        mask = _hidden_only(part(grid, batch_size, generator=generator))
        return replace(Mask.from_hidden(~mask.hidden, ragged=mask.ragged), repeats=mask.repeats)


class OneOfMasker(CompositeMasker):
    """One of its parts, drawn by weight.

    Args:
        per: draw once a batch, or once a sample, for which all parts must keep, and predict, equally many patches.
    """

    def __init__(self, parts: Iterable[Masker], weights: Sequence[float], *, per: Literal["batch", "sample"] = "batch") -> None:
        super().__init__(parts)
        self.weights = list(weights)
        self.per = per

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """A mask on the CPU, or what the drawn part returns; see the class."""
        if self.per == "batch":
            return self.parts[int(self._choose(1, generator))](grid, batch_size, generator=generator)
        chosen = self._choose(batch_size, generator)
        drawn = [_single(part(grid, batch_size, generator=generator)) for part in self.parts]
        for counts, what in (
            ([mask.num_keep for mask in drawn], "keep {} patches"),
            ([mask.ids_predict.shape[1] for mask in drawn], "predict {} patches"),
            ([len(mask.queries) for mask in drawn], "have {} queries"),
            ([mask.repeats for mask in drawn], "have {} contexts of each sample"),
        ):
            _common(counts, f"one_of with `per: sample` needs parts of equal counts; on the grid {grid} they {what}")
        return _pick_rows(drawn, chosen)

    def for_batch(self, generator: torch.Generator) -> Masker:
        """The part that this batch is of, where it is of one."""
        if self.per == "batch":
            return self.parts[int(self._choose(1, generator))].for_batch(generator)
        return super().for_batch(generator)

    def cases(self) -> Sequence[Masker]:
        """The cases of its parts, if a whole batch comes from one of them."""
        return [case for part in self.parts for case in part.cases()] if self.per == "batch" else super().cases()

    def _choose(self, num_draws: int, generator: torch.Generator) -> Tensor:
        """(num_draws,) int64: numbers of parts."""
        return torch.multinomial(
            torch.tensor(self.weights, dtype=torch.float64), num_draws, replacement=True, generator=generator
        )


class RepeatMasker(CompositeMasker):
    """Several contexts of each sample, each drawn anew: the sample is loaded, and a teacher sees it, once (data2vec 2.0).

    Args:
        times: contexts of each sample. data2vec 2.0 has 16.
    """

    def __init__(self, parts: Iterable[Masker], *, times: Positive) -> None:
        super().__init__(parts)
        self.times = times

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """Masks on the CPU, whose row b * times + r is of sample b; see the class."""
        (part,) = self.parts
        drawn = part(grid, batch_size * self.times, generator=generator)
        return self._repeated(drawn) if isinstance(drawn, Mask) else tuple(map(self._repeated, drawn))

    def _repeated(self, mask: Mask) -> Mask:
        return replace(mask, repeats=mask.repeats * self.times)


def _pick_rows(masks: Sequence[Mask], chosen: Tensor) -> Mask:
    """Sample b of the mask number `chosen[b]`, with all of its contexts."""
    both, repeats = Mask.cat(masks), masks[0].repeats
    samples = chosen * len(chosen) + torch.arange(len(chosen))
    rows = (samples[:, None] * repeats + torch.arange(repeats)).flatten()
    return both.map(lambda tensor: tensor[rows])


def _common(numbers: Sequence[int], problem: str) -> int:
    """The number that all are. Raises ConfigError, with the numbers for the braces in `problem`, if they are not equal."""
    if len(set(numbers)) > 1:
        raise ConfigError(problem.format(", ".join(map(str, numbers))))
    return numbers[0]


def _single(drawn: MaskSets) -> Mask:
    if isinstance(drawn, Mask):
        return drawn
    raise ConfigError("a masker that returns several masks cannot be combined with others here")


def _hidden_only(drawn: MaskSets) -> Mask:
    """A mask that is nothing more than its hidden set: all others are kept, and it is what is predicted and counts."""
    mask = _single(drawn)
    (first, *others) = mask.queries
    predicted = torch.zeros_like(mask.hidden).scatter(1, first.ids, first.counts.bool())
    if others or not predicted.equal(mask.hidden) or not (mask.ragged or bool(first.counts.all())):
        raise ConfigError(
            "a masker that itself chooses what is predicted cannot be a part of any, all or invert, which know hidden sets only"
        )
    return mask
