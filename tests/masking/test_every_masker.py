"""What holds for every masker: those that are registered, of plugins too, and those made of others."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masker_cases import CASES, REGISTERED, Case
from torch import Tensor

from mae_core import Grid, Mask
from mae_core.interfaces import JointMasker, each_mask
from mae_core.registry import registry
from mae_core.testing import check_masker
from mae_registry import ConfigError

AXES = {1: "t", 2: "hw", 3: "thw"}
GRID = Grid(t=4, h=8, w=8)
LARGE = [Grid(t=1001), Grid(h=56, w=56), Grid(h=37, w=53), Grid(t=16, h=28, w=28)]
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def draw(case: Case, grid: Grid, batch_size: int, seed: int = 0) -> tuple[Mask, ...]:
    return each_mask(case.masker(grid, batch_size, generator=torch.Generator().manual_seed(seed)))


def hidden(case: Case, batch_size: int, seed: int = 0) -> Tensor:
    """(B, N) of the first index set, on GRID."""
    return draw(case, GRID, batch_size, seed)[0].hidden


def test_the_table_has_every_registered_masker() -> None:
    """Those of paired modalities are tested in test_dirichlet.py, and the one that hides nothing in test_maskers.py."""
    components = [component for component in registry() if component.kind == "maskers"]
    single = {component.name for component in components if not issubclass(component.load(), JointMasker)}
    assert single - {"none"} == set(REGISTERED)


@every_case
@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 4) | st.integers(1, 9), min_size=1, max_size=3))
def test_the_contract_holds_on_every_grid_that_fits_and_others_are_refused(case: Case, sizes: list[int]) -> None:
    """Exact counts; ids that agree; kept and predicted restored; shared axes; seeds alone decide: see check_masker."""
    grid = Grid(**dict(zip(AXES[len(sizes)], sizes, strict=True)))
    if case.fits(grid):
        check_masker(case.section, grid=grid)
        masks = draw(case, grid, 3)
        assert case.num_hidden is None or set(masks[0].hidden.sum(1).tolist()) == {case.num_hidden(grid)}
    elif case.num_hidden is not None:
        with pytest.raises(ConfigError, match=re.escape(str(grid))):
            draw(case, grid, 3)


@every_case
def test_large_and_odd_grids(case: Case) -> None:
    grids = [grid for grid in LARGE if case.fits(grid)]
    assert grids
    for grid in grids:
        for mask in draw(case, grid, 3):
            num_hidden = mask.hidden.sum(1)
            assert mask.ragged or len(num_hidden.unique()) == 1
            assert ((num_hidden > 0) & (num_hidden < grid.num_patches)).all()
            assert case.num_hidden is None or int(num_hidden[0]) == case.num_hidden(grid)


@every_case
def test_kept_and_predicted_partition_the_patches_where_they_can_be_restored(case: Case) -> None:
    masks = draw(case, GRID, 20)
    restored = masks[0].ids_restore is not None
    assert restored == (case.section.get("name") not in ("multi_block", "running_cell") and not masks[0].ragged)
    for mask in masks:
        if mask.ids_restore is None:
            continue
        together = torch.cat([mask.ids_keep, mask.ids_predict], dim=1)
        assert together.sort(dim=1).values.equal(torch.arange(GRID.num_patches).expand(20, -1))
        assert together.gather(1, mask.ids_restore).equal(torch.arange(GRID.num_patches).expand(20, -1))
        assert mask.hidden.gather(1, mask.ids_predict).all()
        assert not mask.hidden.gather(1, mask.ids_keep).any()


@every_case
def test_masks_vary_along_the_axes_that_are_named_and_not_along_others(case: Case) -> None:
    varying = set[str]()
    for seed in range(6):
        rows = hidden(case, 20, seed).reshape(20, *GRID.sizes)
        for place, axis in enumerate(GRID.axes, start=1):
            if not rows.equal(rows.narrow(place, 0, 1).expand_as(rows)):
                varying.add(axis)
    assert varying <= case.masker.axes(GRID)
    if case.section.get("name") not in ("running_cell", "multi_block"):  # these vary along more in what they predict
        assert varying == case.masker.axes(GRID)


@every_case
def test_every_patch_is_hidden_equally_often_where_that_is_claimed(case: Case) -> None:
    rows = torch.cat([hidden(case, 40, seed) for seed in range(100)]).double()
    share = float(rows.mean())
    apart = float((rows.mean(0) - share).abs().max()) / math.sqrt(share * (1 - share) / len(rows))
    assert (apart < 5) == case.uniform


@every_case
def test_rows_differ_and_are_independent_where_that_is_claimed(case: Case) -> None:
    """How often two rows of one batch hide the same patch, against chance."""
    assert len(hidden(case, 40).unique(dim=0)) > 1
    pairs = torch.stack([hidden(case, 2, seed) for seed in range(300)]).double()
    together = (pairs[:, 0] * pairs[:, 1]).mean(1)
    by_chance = float((pairs.mean((0, 1)) ** 2).mean())
    apart = abs(float(together.mean()) - by_chance) / (float(together.std()) / math.sqrt(300))
    assert not case.independent or apart < 5


@every_case
def test_a_generator_goes_on(case: Case) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (each_mask(case.masker(GRID, 8, generator=generator))[0].hidden for _ in range(2))
    assert not first.equal(second)
