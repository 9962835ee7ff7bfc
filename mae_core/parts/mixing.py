"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of pairs of samples, in the arithmetic of the published recipes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from mae_core.interfaces.numbers import Probability
from mae_registry import ConfigError

Alpha = Annotated[float, Field(ge=0)]
Box = tuple[int, int, int, int]
"""First row, row behind the last, first column, column behind the last."""
NO_BOX: Box = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class MixSettings:
    """How samples are mixed."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    mixup: Alpha = 0.8
    """Both parameters of the Beta distribution of mixup's shares; 0: no mixup."""
    cutmix: Alpha = 1.0
    """The same of CutMix; 0: no CutMix."""
    prob: Probability = 1.0
    """How often anything is mixed."""
    switch_prob: Probability = 0.5
    """How often it is CutMix, where there are both."""
    mode: Literal["batch", "pair"] = "batch"
    """"batch": one share, and one box, for all samples of a step; "pair": for each pair its own."""


class _Share(NamedTuple):
    """How two samples are mixed."""

    of_values: float
    of_target: float
    box: Box


@dataclass(frozen=True)
class Mixing:
    """How each row of a batch is mixed with its partner."""

    of_values: Tensor
    """(rows,) float64: each row's own share of its values, outside of the box."""
    of_target: Tensor
    """(rows,) float64: each row's own share of its target."""
    boxes: Tensor
    """(rows, 4) int64: the `Box` in which the partner's values are taken, in the last two axes."""
    distance: int
    """Rows between partners: the views of one sample, which lie next to each other."""

    def __getitem__(self, rows: slice) -> Self:
        """Of some rows, which must be whole pairs."""
        return type(self)(self.of_values[rows], self.of_target[rows], self.boxes[rows], self.distance)

    def mix(self, x: Tensor) -> Tensor:
        """(rows, ..., H, W) -> the same, mixed."""
        partner, own = self._partners(x), self._share(self.of_values, x)
        return torch.where(self._inside(x), partner, x * own + partner * self._share(1 - self.of_values, x))

    def mix_targets(self, targets: Tensor) -> Tensor:
        """(rows, classes) -> the same, mixed."""
        own, other = self._share(self.of_target, targets), self._share(1 - self.of_target, targets)
        return targets * own + self._partners(targets) * other

    def _partners(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, 2, self.distance)).flip(1).flatten(0, 2)

    @staticmethod
    def _share(shares: Tensor, like: Tensor) -> Tensor:
        return shares.to(like).reshape(-1, *[1] * (like.ndim - 1))

    def _inside(self, x: Tensor) -> Tensor:
        """(rows, 1, ..., H, W) bool: whether a value lies in the row's box."""
        first_row, end_row, first_column, end_column = self.boxes.to(x.device).unsqueeze(-1).unbind(1)
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[-2:])
        in_rows, in_columns = (rows >= first_row) & (rows < end_row), (columns >= first_column) & (columns < end_column)
        inside = in_rows.unsqueeze(2) & in_columns.unsqueeze(1)
        return inside.reshape(len(x), *[1] * (x.ndim - 3), *x.shape[-2:])


def draw_mixing(
    settings: MixSettings, num_rows: int, sample_shape: Sequence[int], *, num_views: int = 1, generator: torch.Generator
) -> Mixing:
    """How the rows of an effective batch are mixed, as pairs of neighbouring samples.

    The published recipes mix each sample of a batch with the one that lies as far from its end. For shuffled samples neighbours
    are as good, and the step does not depend on where the batch is cut, if that is between pairs. Raises ConfigError where
    samples do not come in pairs.
    """
    length = 2 * num_views
    if num_rows % length:
        raise ConfigError(f"task.mix mixes samples in pairs, and {num_rows // num_views} samples are no pairs")
    random = Random(int(torch.randint(2**62, (), generator=generator)))
    num_pairs = num_rows // length
    shares = [_draw(settings, sample_shape, random) for _ in range(num_pairs if settings.mode == "pair" else 1)]
    shares = [share for share in shares for _ in range(length if settings.mode == "pair" else num_rows)]
    of_values, of_target = (
        torch.tensor([share[i] for share in shares], dtype=torch.float64) for i in (0, 1)
    )  # fmt: skip
    return Mixing(of_values, of_target, torch.tensor([share.box for share in shares]), num_views)


def require_mixable(settings: MixSettings, sample_shape: Sequence[int]) -> None:
    """Raise ConfigError where nothing would be mixed, or samples have no boxes."""
    if settings.mixup == settings.cutmix == 0:
        raise ConfigError("task.mix: mixup and cutmix are both 0; set mix to null for no mixing")
    if settings.cutmix > 0 and len(sample_shape) < 2:
        raise ConfigError(f"task.mix.cutmix needs samples of two axes or more, not of shape {tuple(sample_shape)}; set it to 0")


def cut_box(size: tuple[int, int], share: float, center: tuple[int, int]) -> Box:
    """The box of a CutMix that leaves `share` of a plane of this size, or more where the plane's edges cut it off."""
    ends: list[int] = []
    for length, middle in zip(size, center, strict=True):
        side = int(length * math.sqrt(1 - share))
        ends += [max(middle - side // 2, 0), min(middle + (side + 1) // 2, length)]
    return ends[0], ends[1], ends[2], ends[3]


def _draw(settings: MixSettings, sample_shape: Sequence[int], random: Random) -> _Share:
    if random.random() >= settings.prob:
        return _Share(1.0, 1.0, NO_BOX)
    is_cut = settings.cutmix > 0 and (settings.mixup == 0 or random.random() < settings.switch_prob)
    alpha = settings.cutmix if is_cut else settings.mixup
    share = random.betavariate(alpha, alpha)
    if not is_cut:
        return _Share(share, share, NO_BOX)
    height, width = sample_shape[-2:]
    box = cut_box((height, width), share, (random.randrange(height), random.randrange(width)))
    return _Share(1.0, 1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width), box)
