import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mae_core import Grid
from mae_core.build_maskers import build_tried_masker
from mae_core.interfaces import Mask, Masker
from mae_core.masking import BlockMasker, GridMasker, InverseBlockMasker, NoMasker, RandomMasker
from mae_core.masking.counts import count_kept, with_count
from mae_registry import ConfigError

GRIDS = [Grid(t=12), Grid(h=4, w=6), Grid(t=4, h=3, w=5)]
OVER = [(grid, over) for grid in GRIDS for n in range(1, 4) for over in itertools.combinations(grid.axes, n)]


def draw(masker: Masker, grid: Grid, batch_size: int, seed: int = 0) -> Tensor:
    """(B, *grid) bool, True = hidden."""
    mask = masker(grid, batch_size, generator=torch.Generator().manual_seed(seed))
    assert isinstance(mask, Mask)
    return mask.hidden.reshape(batch_size, *grid.sizes)


@pytest.mark.parametrize(
    ("num_patches", "ratio", "truncate", "kept"),
    [
        (196, 0.75, "kept", 49),
        (1568, 0.9, "kept", 156),  # of 156.8
        (512, 0.8, "kept", 102),  # of 102.4
        (400, 0.9, "kept", 39),  # 400 * (1 - 0.9) is a little less than 40 in floating point
        (400, 0.9, "hidden", 40),
        (196, 0.9, "hidden", 196 - 176),  # of 176.4
        (196, 0.9, "kept", 19),
    ],
)
def test_counts_are_truncated_as_published(num_patches: int, ratio: float, truncate: str, kept: int) -> None:
    assert count_kept(num_patches, ratio, truncate) == kept  # type: ignore[arg-type]
    masker = RandomMasker(ratio=ratio, truncate=truncate)  # type: ignore[arg-type]
    assert masker(Grid(n=num_patches), 2, generator=torch.Generator()).ids_keep.shape == (2, kept)


@pytest.mark.parametrize("truncate", ["kept", "hidden"])
@pytest.mark.parametrize(("grid", "over"), OVER, ids=str)
def test_random_hides_an_exact_count_shared_along_the_other_axes(grid: Grid, over: tuple[str, ...], truncate: str) -> None:
    hidden = draw(RandomMasker(ratio=0.6, over=over, truncate=truncate), grid, 50)  # type: ignore[arg-type]
    shared = [1 + i for i, axis in enumerate(grid.axes) if axis not in over]
    first = hidden[tuple(slice(0, 1) if i in shared else slice(None) for i in range(hidden.ndim))]
    assert hidden.equal(first.expand_as(hidden))
    num_positions = math.prod(grid[axis] for axis in over)
    num_hidden = num_positions - count_kept(num_positions, 0.6, truncate)  # type: ignore[arg-type]
    assert set(first.flatten(1).sum(1).tolist()) == {num_hidden}
    assert len(first.flatten(1).unique(dim=0)) > 1  # rows of a batch differ


@pytest.mark.parametrize(
    ("grid", "hidden_units"), [(Grid(h=14, w=14), 30), (Grid(h=12, w=12), 22), (Grid(t=3, h=12, w=14), 26)]
)
def test_units_are_hidden_as_one(grid: Grid, hidden_units: int) -> None:
    """SimMIM: 32-pixel units of 16-pixel patches; ceil(0.6 * n) of 49, or 36, are hidden."""
    masker = RandomMasker(ratio=0.6, over=["h", "w"], unit=2)
    rows = draw(masker, grid, 40).reshape(40, -1, grid["h"] // 2, 2, grid["w"] // 2, 2)
    units = rows[:, :1, :, :1, :, :1]
    assert rows.equal(units.expand_as(rows))
    assert units.flatten(1).sum(1).unique().tolist() == [hidden_units]
    assert len(units.flatten(1).unique(dim=0)) == 40


def test_cubic_units_and_units_along_one_axis() -> None:
    grid = Grid(t=4, h=6, w=8)
    cubes = draw(RandomMasker(ratio=0.5, unit=2), grid, 9).reshape(9, 2, 2, 3, 2, 4, 2)
    assert cubes.equal(cubes[:, :, :1, :, :1, :, :1].expand_as(cubes))
    assert cubes.flatten(1).sum(1).unique().tolist() == [12 * 8]
    intervals = draw(RandomMasker(ratio=0.5, over=["w"], unit=4), grid, 9).reshape(9, 24, 2, 4)
    assert intervals.equal(intervals[:, :1, :, :1].expand_as(intervals))
    assert intervals[:, 0, :, 0].sum(1).tolist() == [1] * 9


def test_units_of_another_side_along_each_axis() -> None:
    """Hiera hides squares of a clip, other ones at each time; the axes may be named in any order."""
    grid = Grid(t=4, h=6, w=8)
    for over, unit in ((["t", "h", "w"], [1, 2, 2]), (["w", "t", "h"], [2, 1, 2])):
        squares = draw(RandomMasker(ratio=0.6, over=over, unit=unit), grid, 9).reshape(9, 4, 3, 2, 4, 2)
        assert squares.equal(squares[:, :, :, :1, :, :1].expand_as(squares))
        assert squares.flatten(1).sum(1).unique().tolist() == [(48 - int(48 * 0.4)) * 4]
        assert not squares.equal(squares[:, :1].expand_as(squares))


def test_none_hides_nothing() -> None:
    mask = NoMasker()(Grid(h=3, w=4), 2, generator=torch.Generator())
    assert (mask.num_keep, mask.ids_predict.shape, bool(mask.hidden.any())) == (12, (2, 0), False)
    assert NoMasker().axes(Grid(h=3, w=4)) == frozenset()


def test_a_model_is_not_built_to_hide_nothing() -> None:
    with pytest.raises(ConfigError, match=r"^this masker predicts nothing on the grid h=14 w=14$"):
        build_tried_masker({"name": "none"}, Grid(h=14, w=14), check=lambda mask: None)


@given(st.integers(0, 12), st.integers(0, 2**32))
def test_repairing_a_count_flips_no_more_than_it_must(num_hidden: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    before = torch.rand(30, 12, generator=generator) < torch.rand(30, 1, generator=generator)
    after = with_count(before, num_hidden, generator)
    assert after.sum(1).tolist() == [num_hidden] * 30
    assert (after != before).sum(1).equal((num_hidden - before.sum(1)).abs())


def test_repairing_chooses_evenly() -> None:
    before = (torch.arange(12) < 5).expand(6000, -1)
    generator = torch.Generator().manual_seed(0)
    more, fewer = with_count(before, 8, generator).double().mean(0), with_count(before, 2, generator).double().mean(0)
    assert more[:5].tolist() == [1] * 5
    assert fewer[5:].tolist() == [0] * 7
    assert torch.allclose(more[5:], torch.tensor(3 / 7).double(), atol=0.03)
    assert torch.allclose(fewer[:5], torch.tensor(2 / 5).double(), atol=0.03)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3), ratio=st.floats(0.01, 0.99), data=st.data())
def test_a_masker_works_on_a_grid_or_says_why_not(sizes: list[int], ratio: float, data: st.DataObject) -> None:
    grid = Grid(**dict(zip("thw", sizes, strict=False)))
    kind = data.draw(st.sampled_from(["random", "block", "grid"]))
    maskers = {"random": RandomMasker(ratio=ratio), "block": BlockMasker(ratio=ratio), "grid": GridMasker(every=2)}
    possible = {
        "random": int(grid.num_patches * (1 - ratio)) > 0,
        "block": len(sizes) > 1 and int(sizes[-1] * sizes[-2] * ratio) > 0,
        "grid": grid.num_patches > 1 and all(size == 1 or size % 2 == 0 for size in sizes),
    }
    try:
        mask = maskers[kind](grid, 3, generator=torch.Generator().manual_seed(0))
    except ConfigError as error:
        message = str(error)
    else:
        assert 0 < mask.num_keep < grid.num_patches
        assert mask.num_keep + mask.ids_predict.shape[1] == grid.num_patches
        return
    assert f"the grid {grid}" in message
    assert possible[kind] is False


def test_the_smallest_grids_and_a_large_one() -> None:
    assert draw(RandomMasker(ratio=0.5), Grid(n=2), 9).sum(1).tolist() == [1] * 9
    assert draw(GridMasker(), Grid(n=2), 9).sum(1).tolist() == [1] * 9
    assert draw(BlockMasker(ratio=0.5), Grid(h=1, w=2), 9).flatten(1).sum(1).tolist() == [1] * 9
    large = Grid(t=16, h=64, w=64)
    assert draw(RandomMasker(ratio=0.9), large, 1).sum() == 65536 - 6553
    assert draw(GridMasker(every=4), large, 1).sum() == 65536 - 1024
    assert draw(BlockMasker(ratio=0.4), large, 1).sum() == 16 * 1638


@pytest.mark.parametrize("grid", [Grid(n=8), Grid(h=4, w=6), Grid(t=4, h=1, w=6)], ids=str)
def test_grid_keeps_one_place_of_every_cell(grid: Grid) -> None:
    kept = ~draw(GridMasker(every=2), grid, 60)
    sides = [min(2, size) for size in grid.sizes]
    assert kept.flatten(1).sum(1).unique().tolist() == [grid.num_patches // math.prod(sides)]
    for row in kept:
        places = row.nonzero() % torch.tensor(sides)
        assert len(places.unique(dim=0)) == 1  # the same in all cells


@pytest.mark.parametrize(
    ("masker", "grid", "message"),
    [
        (
            RandomMasker(ratio=0.9),
            Grid(h=3, w=3),
            "ratio 0.9 keeps none of the 9 positions it chooses from on the grid h=3 w=3; lower the ratio or use a finer grid",
        ),
        (
            RandomMasker(ratio=0.1, over=["t"], truncate="hidden"),
            Grid(t=8, h=9),
            "ratio 0.1 hides none of the 8 positions it chooses from on the grid t=8 h=9; raise the ratio or use a finer grid",
        ),
        (
            BlockMasker(ratio=0.01),
            Grid(h=9, w=9),
            "ratio 0.01 hides none of the 81 positions it chooses from on the grid h=9 w=9; "
            "raise the ratio or use a finer grid",
        ),
        (
            RandomMasker(ratio=0.5, over=["time"]),
            Grid(tim=4, h=4),
            "the grid tim=4 h=4 has no axis 'time'. Did you mean 'tim'? Known: h, tim.",
        ),
        (
            RandomMasker(ratio=0.5, over=["h", "h"]),
            Grid(h=4, w=4),
            "over: ['h', 'h'] must name one or more axes of the grid h=4 w=4, each once",
        ),
        (RandomMasker(ratio=0.5, over=[]), Grid(h=4), "over: [] must name one or more axes of the grid h=4, each once"),
        (
            BlockMasker(ratio=0.5),
            Grid(t=9),
            "block masking needs two axes or more; the grid t=9 has one: use {name: random}",
        ),
        (
            InverseBlockMasker(ratio=0.5),
            Grid(t=9),
            "inverse_block masking needs two axes or more; the grid t=9 has one: use {name: random}",
        ),
        (RandomMasker(ratio=0.5, unit=2), Grid(h=6, w=7), "unit: 2 does not divide axis 'w' of the grid h=6 w=7"),
        (RandomMasker(ratio=0.5, over=["h"], unit=4), Grid(h=6, w=8), "unit: 4 does not divide axis 'h' of the grid h=6 w=8"),
        (
            RandomMasker(ratio=0.9, unit=2),
            Grid(h=4, w=4),
            "ratio 0.9 keeps none of the 4 positions it chooses from on the grid h=4 w=4; lower the ratio or use a finer grid",
        ),
        (GridMasker(every=3), Grid(h=6, w=7), "every: 3 does not divide axis 'w' of the grid h=6 w=7; `every` may be 7 there"),
        (
            RandomMasker(ratio=0.5, over=["h", "w"], unit=[2]),
            Grid(h=6, w=8),
            "unit: [2] must be a single number, or a list with one side for each axis of h, w",
        ),
        (
            RandomMasker(ratio=0.5, unit=[1, 3]),
            Grid(h=6, w=8),
            "unit: [1, 3] does not divide axis 'w' of the grid h=6 w=8",
        ),
        (GridMasker(), Grid(h=1, w=1), "the grid h=1 w=1 has a single patch, so nothing is left to hide"),
    ],
)
def test_a_masker_that_cannot_work_on_a_grid(masker: Masker, grid: Grid, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        masker(grid, 2, generator=torch.Generator())
    assert str(error.value) == message
