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
from mae_core.build_maskers import masker_from_section
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
@settings(max_examples=25, deadline=None)  # other processes may have the processor meanwhile
@given(sizes=st.lists(st.integers(1, 4) | st.integers(1, 9), min_size=1, max_size=3))
def test_the_contract_holds_on_every_grid_that_fits_and_others_are_refused(case: Case, sizes: list[int]) -> None:
    """Exact counts; ids that agree; shared axes; seeds alone decide: see check_masker."""
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
def test_what_is_hidden_is_predicted_and_counts_unless_a_masker_chooses(case: Case) -> None:
    every = torch.arange(GRID.num_patches)
    for mask in draw(case, GRID, 20):
        rows = every.expand(len(mask.hidden), -1)
        assert len(mask.queries) == 1 or case.section.get("name") == "multi_block"
        query = mask.queries[0]
        if mask.ragged:
            assert mask.ids_keep.equal(rows)
            assert query.ids.equal(rows)
            assert query.counts.equal(mask.hidden)
        elif case.section.get("name") not in ("multi_block", "running_cell"):
            assert query.counts.all()
            assert torch.cat([mask.ids_keep, query.ids], dim=1).sort(dim=1).values.equal(rows)
            assert mask.hidden.gather(1, query.ids).all()
        if not mask.ragged:
            assert not mask.hidden.gather(1, mask.ids_keep).any()


@every_case
def test_the_masks_of_some_samples_are_slices(case: Case) -> None:
    for mask in draw(case, GRID, 6):
        parts = [mask[0:1], mask[1:4], mask[4:6]]
        assert [len(part.hidden) for part in parts] == [mask.repeats, 3 * mask.repeats, 2 * mask.repeats]
        again = Mask.cat(parts)
        assert (again.repeats, again.ragged) == (mask.repeats, mask.ragged)
        assert again.hidden.equal(mask.hidden)
        assert again.ids_keep.equal(mask.ids_keep)
        for one, other in zip(again.queries, mask.queries, strict=True):
            assert one.ids.equal(other.ids)
            assert one.counts.equal(other.counts)


@every_case
def test_maskers_are_drawn_on_the_cpu_whatever_device_a_model_is_built_on(case: Case) -> None:
    with torch.device("meta"):
        masker = masker_from_section(case.section)
    masks = each_mask(masker(GRID, 3, generator=torch.Generator().manual_seed(0)))
    assert all(mask.hidden.equal(expected.hidden) for mask, expected in zip(masks, draw(case, GRID, 3), strict=True))


@every_case
def test_masks_vary_along_the_axes_that_are_named_and_not_along_others(case: Case) -> None:
    varying = set[str]()
    for seed in range(6):
        rows = hidden(case, 20, seed).reshape(-1, *GRID.sizes)
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
