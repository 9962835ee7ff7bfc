"""Maskers that each break one contract, for tests/testing. Each derives from a sound one."""

import random
from dataclasses import replace

import torch
from torch import nn

from mae_core.interfaces import Mask, Masker, Query
from mae_core.masking import RandomMasker


class GlobalGenerator(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        torch.rand(1)
        return super().forward(grid, batch_size, generator=generator)


class PythonGenerator(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, batch_size, generator=torch.Generator().manual_seed(random.getrandbits(30)))


class OwnSeed(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, batch_size, generator=torch.Generator().manual_seed(0))


class Counting(RandomMasker):
    """Remembers how often it was called."""

    num_calls = 0

    def forward(self, grid, batch_size, *, generator):
        type(self).num_calls += 1
        return super().forward(grid, batch_size, generator=generator.manual_seed(self.num_calls))


class UnequalRows(Masker):
    def forward(self, grid, batch_size, *, generator):
        hidden = torch.rand(batch_size, grid.num_patches, generator=generator) < 0.5
        hidden[:, 0], hidden[:, 1], hidden[0, :3] = False, True, True
        ids = Mask.from_hidden(hidden[:1]).ids_keep.expand(batch_size, -1)
        return Mask(ids, hidden, ()).asking(ids)


class UnequalSecond(RandomMasker):
    """Several masks, of which the second is wrong."""

    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask, replace(mask, hidden=~mask.hidden)


class NothingCounts(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(mask.ids_keep)


class CountsTooFew(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(Query(mask.ids_predict, mask.queries[0].counts[:, :1]))


class OneMask(RandomMasker):
    """Guided, it draws a single mask whatever it is asked for."""

    needs = "patches"

    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, 1, generator=generator)


class FixedRatio(RandomMasker):
    """Reads its ratio too early for a schedule."""

    def __init__(self, *, ratio: float) -> None:
        super().__init__(ratio=ratio)
        self.kept = 1 - ratio

    def forward(self, grid, batch_size, *, generator):
        return Mask.from_noise(torch.rand(batch_size, grid.num_patches, generator=generator), int(grid.num_patches * self.kept))


class KeepsTwice(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return replace(mask, ids_keep=mask.ids_keep[:, :1].expand(-1, 2))


class KeepsNothing(Masker):
    def forward(self, grid, batch_size, *, generator):
        return Mask.from_noise(torch.rand(batch_size, grid.num_patches, generator=generator), 0)


class FloatIds(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return replace(mask, ids_keep=mask.ids_keep.float())


class WrongAxes(RandomMasker):
    def axes(self, grid):
        return frozenset(grid.axes[:1])


class BreaksLater(RandomMasker):
    def at(self, progress):
        return KeepsNothing() if progress == 1 else self


class Indexing(Masker):
    """A ValueError where the grid lacks an axis."""

    def forward(self, grid, batch_size, *, generator):
        place = grid.coordinates()[:, grid.axes.index("h")]
        first = torch.rand(batch_size, 1, generator=generator) < 0.5
        return Mask.from_hidden(torch.where(first, place < grid["h"] // 2, place >= grid["h"] // 2))


class Growing(RandomMasker):
    """Gets a parameter when it is first called, which no checkpoint of a fresh model would hold."""

    def forward(self, grid, batch_size, *, generator):
        self.scale = nn.Parameter(torch.ones(1))
        return super().forward(grid, batch_size, generator=generator)
