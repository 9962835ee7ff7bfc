"""Multi-block masking of I-JEPA (Assran et al. 2023, section 3) and V-JEPA (Bardes et al. 2024, section 3.2)."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, ConfigDict, Field
from torch import Tensor
from typing_extensions import TypedDict  # pydantic takes typing's from Python 3.12 on only

from mae_core.interfaces import Grid, Mask, Masker, MaskSets, Query
from mae_core.interfaces.numbers import Positive, PositiveRange
from mae_core.masking.rectangles import as_tubes, rectangles, require_plane
from mae_registry import ConfigError

MAX_TRIES = 20
"""Contexts drawn for a sample at each stage of giving way, after which the next one begins."""
MAX_REDRAWS = 1000
"""Times that the targets of a sample are drawn until enough is left around them."""


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("must be [smallest, largest]")
    return pair


Scale = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_ascending)]
Aspect = Annotated[PositiveRange, AfterValidator(_ascending)]


class TargetBlocks(TypedDict):
    """How many blocks of one size are predicted, and the share of the plane that each covers, [smallest, largest]."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    num_blocks: Positive
    scale: Scale


I_JEPA: TargetBlocks = {"num_blocks": 4, "scale": (0.15, 0.2)}


class MultiBlockMasker(Masker):
    """Blocks are predicted from a context around them, each block by a query of its own; a mask for each context.

    All samples of a batch have blocks of one size, at places of their own. Contexts, and unions of targets, are cut to the
    batch's smallest, by dropping the last patches in raster order. On a grid of more than two axes blocks lie in the last two
    and extend along all others.

    Args:
        targets: for each entry {num_blocks, scale} a context of its own. I-JEPA: 4 blocks of 0.15 to 0.2 of the plane.
            V-JEPA: twice, [{num_blocks: 8, scale: [0.15, 0.15]}, {num_blocks: 2, scale: [0.7, 0.7]}].
        target_aspect: of height to width, [smallest, largest]. One draw sets the scale and the aspect.
        context_scale: the context is a square block of this share of the plane, without the targets (I-JEPA); null: all but
            the targets (V-JEPA).
        predict: "blocks": a query for each block (I-JEPA). "union": one for all blocks (V-JEPA).
        counts: "all": every prediction counts in the loss, as in both systems. "hidden": only those of patches that the context
            does not show, for targets that the context would give away.
        min_keep: least size of a context. I-JEPA asks for more than 10; V-JEPA for 1. A context block that keeps too few is
            drawn anew; after 20 times it may overlap with the last target, after 20 more with the last two, and so on; where
            only hidden patches count it never shows all of a target. Without a context block it is the targets that are
            drawn anew.
        reach_end: blocks may reach the last row and column. I-JEPA's never do, context included: false.

    Both systems cut to the smallest of a device's batch, this one to that of the whole batch, so that masks do not depend on
    the number of devices.
    """

    def __init__(
        self,
        *,
        targets: Annotated[Sequence[TargetBlocks], Field(min_length=1)] = (I_JEPA,),
        target_aspect: Aspect = (0.75, 1.5),
        context_scale: Scale | None = (0.85, 1.0),
        predict: Literal["blocks", "union"] = "blocks",
        counts: Literal["all", "hidden"] = "all",
        min_keep: Positive = 11,
        reach_end: bool = True,
    ) -> None:
        super().__init__()
        self.targets = targets
        self.target_aspect = target_aspect
        self.context_scale = context_scale
        self.predict = predict
        self.counts = counts
        self.min_keep = min_keep
        self.reach_end = reach_end

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """A mask on the CPU, or one for each of several `targets`; see the class."""
        if math.prod(require_plane(grid, "multi_block")) == 1:
            raise ConfigError(f"the last two axes of the grid {grid} have one position: no block of it has anything around it")
        draw = _Draw(grid, batch_size, generator, self.reach_end)
        masks = tuple(self._mask(targets, draw) for targets in self.targets)
        return masks[0] if len(masks) == 1 else masks

    def _mask(self, targets: TargetBlocks, draw: "_Draw") -> Mask:
        """The mask of one context."""
        size = draw.size(targets["scale"], self.target_aspect)
        if self.context_scale is None:
            blocks = draw.until_left(size, targets["num_blocks"], self.min_keep)
            context = ~blocks.any(dim=1)
        else:
            blocks = draw.blocks(size, targets["num_blocks"])
            around = draw.size(self.context_scale, (1.0, 1.0))
            context = draw.context(around, blocks, self.min_keep, may_show_all=self.counts == "all")
        ids_keep = _first_ids(as_tubes(context, draw.grid))
        hidden = torch.ones(len(context), draw.grid.num_patches, dtype=torch.bool).scatter(1, ids_keep, False)
        planes = [blocks.any(dim=1)] if self.predict == "union" else blocks.unbind(dim=1)
        predicted = [_first_ids(as_tubes(plane, draw.grid)) for plane in planes]
        if self.counts == "hidden":
            return Mask(ids_keep, hidden, ()).asking(*predicted)
        return Mask(ids_keep, hidden, tuple(Query(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in predicted))


class _Draw:
    """Draws blocks in the plane of a grid's last two axes, (H, W)."""

    def __init__(self, grid: Grid, batch_size: int, generator: torch.Generator, reach_end: bool) -> None:
        self.grid = grid
        self.batch_size = batch_size
        self.generator = generator
        self.plane = require_plane(grid, "multi_block")
        self.within = self.plane if reach_end else (max(1, self.plane[0] - 1), max(1, self.plane[1] - 1))
        self.depth = grid.num_patches // math.prod(self.plane)

    def size(self, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        """(height, width) of the blocks of this batch: one draw sets both."""
        draw = float(torch.rand((), generator=self.generator))
        area = int(math.prod(self.plane) * (scale[0] + draw * (scale[1] - scale[0])))
        ratio = aspect[0] + draw * (aspect[1] - aspect[0])
        sides = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        height, width = (min(max(1, side), size) for side, size in zip(sides, self.within, strict=True))
        return height, width

    def blocks(self, size: tuple[int, int], num_blocks: int) -> Tensor:
        """(B, num_blocks, H, W) bool, True inside."""
        shape = (self.batch_size, num_blocks)
        top, left = (
            torch.randint(within - side + 1, shape, generator=self.generator)
            for within, side in zip(self.within, size, strict=True)
        )
        return rectangles(top, left, *size, plane=self.plane)

    def until_left(self, size: tuple[int, int], num_blocks: int, min_keep: int) -> Tensor:
        """Blocks around which every sample has `min_keep` patches left."""
        blocks = self.blocks(size, num_blocks)
        for _ in range(MAX_REDRAWS):
            too_few = self._too_few(~blocks.any(dim=1), min_keep)
            if not bool(too_few.any()):
                return blocks
            blocks = torch.where(too_few[:, None, None, None], self.blocks(size, num_blocks), blocks)
        raise ConfigError(
            f"{num_blocks} target blocks of {size[0]} x {size[1]} on the grid {self.grid} do not leave a context of "
            f"min_keep, {min_keep} patches, in {MAX_REDRAWS} draws; lower num_blocks, scale or min_keep"
        )

    def context(self, size: tuple[int, int], targets: Tensor, min_keep: int, *, may_show_all: bool) -> Tensor:
        """(B, H, W): a block without targets, (B, num_blocks, H, W); without the first ones only where that is too little.

        `may_show_all`: it may then show all of a target.
        """
        if math.prod(size) * self.depth < min_keep:
            raise ConfigError(
                f"a context block of {size[0]} x {size[1]} on the grid {self.grid} keeps fewer than min_keep, {min_keep} "
                "patches; raise context_scale or lower min_keep"
            )
        num_targets = targets.shape[1]
        context, unfit = torch.zeros(self.batch_size, *self.plane, dtype=torch.bool), torch.tensor(True)
        for attempt in range(MAX_TRIES * (num_targets + 1)):
            avoided = targets[:, : num_targets - attempt // MAX_TRIES].any(dim=1)
            context = torch.where(unfit[..., None, None], self.blocks(size, 1)[:, 0] & ~avoided, context)
            unfit = self._too_few(context, min_keep)
            if not may_show_all:
                unfit |= (~targets | context[:, None]).flatten(2).all(dim=2).any(dim=1)
            if not bool(unfit.any()):
                return context
        raise ConfigError(
            f"contexts of {size[0]} x {size[1]} and {min_keep} patches or more (min_keep) show all of a target on the grid "
            f"{self.grid}, so that nothing is left to predict; lower num_blocks, scale or min_keep"
        )

    def _too_few(self, context: Tensor, min_keep: int) -> Tensor:
        """(B,) bool."""
        return context.sum((1, 2)) * self.depth < min_keep


def _first_ids(chosen: Tensor) -> Tensor:
    """(B, N) bool -> (B, smallest count of a row): the first True of each row, in raster order."""
    return torch.argsort(~chosen, dim=1, stable=True)[:, : int(chosen.sum(dim=1).min())]
