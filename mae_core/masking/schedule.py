"""A mask ratio that changes over training."""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NotRequired

import torch
from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic takes typing's from Python 3.12 on only

from mae_core.interfaces import Grid, Guide, Masker, MaskSets
from mae_core.masking.compose import CompositeMasker
from mae_core.masking.counts import Ratio

Ramp = TypedDict(
    "Ramp",
    {
        "from": Ratio,
        "to": Ratio,
        "shape": NotRequired[Literal["linear", "cosine", "steps"]],
        "num_steps": NotRequired[Annotated[int, Field(ge=2)]],
    },
)
Ramp.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


def _complete(ramp: Ramp) -> Ramp:
    """The range with its defaults filled in. Raises ValueError if only one of `shape: steps` and `num_steps` is given."""
    shape = ramp.get("shape", "linear")
    if (shape == "steps") != ("num_steps" in ramp):
        raise ValueError(
            "`shape: steps` and num_steps must be given together, e.g. {from: 0.6, to: 0.9, shape: steps, num_steps: 4}"
        )
    return {**ramp, "shape": shape}


class ScheduleMasker(CompositeMasker):
    """A masker whose ratio follows training's progress: linearly, along half a cosine wave, or in equal steps.

    Args:
        ratio: one number, which is constant, or {from, to, shape: linear, cosine or steps, num_steps}.

    Asked without a progress, as when a finished model is looked at, it is what it is at the end.
    """

    def __init__(self, parts: Iterable[Masker], *, ratio: Ratio | Annotated[Ramp, AfterValidator(_complete)]) -> None:
        super().__init__(parts)
        self.ratio = ratio

    def ratio_at(self, progress: float) -> float:
        """The ratio at a share of training, 0 to 1."""
        if not isinstance(self.ratio, dict):
            return self.ratio
        start, end, shape = self.ratio["from"], self.ratio["to"], self.ratio.get("shape", "linear")
        if shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        elif shape == "steps":
            last = self.ratio.get("num_steps", 2) - 1
            progress = min(int(progress * (last + 1)), last) / last
        return start * (1 - progress) + end * progress  # exact at either end

    def at(self, progress: float) -> Masker:
        """The part with the ratio of that time. It shares the parameters of this masker."""
        part = self._part_at(progress)
        return self if part is self.parts[0] and not isinstance(self.ratio, dict) else part

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """The mask at the end of the training; see the class."""
        return self._part_at(1.0)(grid, batch_size, generator=generator)

    def for_batch(self, generator: torch.Generator) -> Masker:
        """The part as it is at the end of the training, for this batch."""
        return self._part_at(1.0).for_batch(generator)

    def guided_by(self, guide: Guide) -> Masker:
        """The axes of the part as it is at the end of the training."""
        return self._part_at(1.0).guided_by(guide)

    def cases(self) -> Sequence[Masker]:
        """The cases for the first and for the last ratio, because all others lie between these."""
        times = (0.0, 1.0) if isinstance(self.ratio, dict) else (1.0,)
        return [case for time in times for case in self._part_at(time).cases()]

    def _part_at(self, progress: float) -> Masker:
        (part,) = self.parts
        return part.with_ratio(self.ratio_at(progress)).at(progress)
