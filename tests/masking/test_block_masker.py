"""The vectorised block masker against a plain reading of BEiT's algorithm, one rectangle after the other."""

import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mae_core import Grid
from mae_core.masking import BlockMasker
from mae_registry import ConfigError

NUM_SAMPLES = 2500


def slow_rectangles(height: int, width: int, num_hidden: int, min_patches: int, rng: random.Random) -> list[list[int]]:
    """One sample, 1 = hidden."""
    hidden = [[0] * width for _ in range(height)]
    remaining = num_hidden
    while remaining > 0:
        for _ in range(10):
            area = rng.uniform(min_patches, remaining)
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= height or w >= width:
                continue
            top, left = rng.randint(0, height - h), rng.randint(0, width - w)
            inside = [(y, x) for y in range(top, top + h) for x in range(left, left + w)]
            num_new = sum(not hidden[y][x] for y, x in inside)
            if 0 < num_new <= remaining:
                break
        else:
            break
        for y, x in inside:
            hidden[y][x] = 1
        remaining -= num_new
    return hidden


def both(ratio: float, min_patches: int, *, height: int = 14) -> tuple[Tensor, Tensor]:
    """Samples of ours and of the slow one, (B, height, 14) bool each."""
    masker = BlockMasker(ratio=ratio, min_patches=min_patches, exact=False)
    ours = masker(Grid(h=height, w=14), NUM_SAMPLES, generator=torch.Generator().manual_seed(0)).hidden
    rng = random.Random(0)
    slow = [slow_rectangles(height, 14, int(height * 14 * ratio), min_patches, rng) for _ in range(NUM_SAMPLES)]
    return ours.reshape(-1, height, 14), torch.tensor(slow, dtype=torch.bool)


def num_borders(hidden: Tensor) -> Tensor:
    """(B,): neighbours of which one is hidden; small for few large rectangles."""
    return (hidden[:, 1:] != hidden[:, :-1]).sum((1, 2)) + (hidden[:, :, 1:] != hidden[:, :, :-1]).sum((1, 2))


def assert_same_mean(ours: Tensor, slow: Tensor) -> None:
    ours, slow = ours.double(), slow.double()
    error = ((ours.var(0) + slow.var(0)) / NUM_SAMPLES).sqrt()
    assert ((ours.mean(0) - slow.mean(0)).abs() <= 5 * error).all()


@pytest.fixture(scope="module")
def published() -> tuple[Tensor, Tensor]:
    """BEiT: 75 of 196, rectangles of 16 patches or more."""
    return both(75 / 196 + 1e-9, 16)


def test_hidden_counts_are_the_published_ones(published: tuple[Tensor, Tensor]) -> None:
    counts = published[0].sum((1, 2))
    assert int(counts.max()) == 75
    assert int(counts.min()) >= 60
    assert float((counts == 75).double().mean()) == pytest.approx(0.66, abs=0.04)
    assert_same_mean(counts, published[1].sum((1, 2)))
    assert_same_mean(counts == 75, published[1].sum((1, 2)) == 75)


def test_shapes_and_places_are_those_of_the_slow_one(published: tuple[Tensor, Tensor]) -> None:
    assert_same_mean(num_borders(published[0]), num_borders(published[1]))
    assert_same_mean(published[0], published[1])  # how often each place is hidden


@pytest.mark.parametrize(("height", "ratio"), [(14, 0.2), (6, 0.4)])
def test_single_rectangles_are_drawn_by_the_same_law(height: int, ratio: float) -> None:
    """With a smallest area of all that is to be hidden, mostly one rectangle fits: its sides can be read off."""
    num_hidden = int(height * 14 * ratio)
    sides = []
    for samples in both(ratio, num_hidden, height=height):
        heights, widths = samples.any(2).sum(1), samples.any(1).sum(1)
        single = heights * widths == samples.sum((1, 2))
        assert float(single.double().mean()) > 0.5
        sides.append(Counter(zip(heights[single].tolist(), widths[single].tolist(), strict=True)))
    ours, slow = sides
    assert all(h < height and w < 14 and h * w <= num_hidden for h, w in ours)
    apart = sum(abs(ours[side] / ours.total() - slow[side] / slow.total()) for side in ours | slow) / 2
    assert apart < 0.06


def test_a_smaller_least_area_gives_more_rectangles(published: tuple[Tensor, Tensor]) -> None:
    ours, slow = both(75 / 196 + 1e-9, 4)
    assert_same_mean(num_borders(ours), num_borders(slow))
    assert num_borders(ours).double().mean() > num_borders(published[0]).double().mean() + 5


@given(
    height=st.integers(2, 12),
    width=st.integers(2, 12),
    ratio=st.floats(0.1, 0.9),
    min_patches=st.integers(1, 20),
    exact=st.booleans(),
)
def test_never_more_than_the_ratio_says(height: int, width: int, ratio: float, min_patches: int, exact: bool) -> None:
    limit = int(height * width * ratio)
    if limit == 0:
        return
    masker = BlockMasker(ratio=ratio, min_patches=min_patches, exact=exact)
    mask = masker(Grid(h=height, w=width), 6, generator=torch.Generator().manual_seed(1))
    counts = mask.hidden.sum(1).tolist()
    assert set(counts) == {limit} if exact else max(counts) <= limit
    assert mask.ragged == (not exact)


def test_repairing_keeps_the_rectangles() -> None:
    grid = Grid(h=14, w=14)
    loose, exact = (
        BlockMasker(ratio=0.4, exact=exact)(grid, 200, generator=torch.Generator().manual_seed(2)).hidden
        for exact in (False, True)
    )
    assert (exact | ~loose).all()
    assert exact.sum() > loose.sum()


def test_blocks_are_tubes_along_further_axes() -> None:
    grid = Grid(t=3, h=8, w=8)
    hidden = BlockMasker(ratio=0.5)(grid, 20, generator=torch.Generator().manual_seed(0)).hidden.reshape(20, 3, 64)
    assert hidden.equal(hidden[:, :1].expand_as(hidden))
    assert hidden[:, 0].sum(1).unique().tolist() == [32]


def test_cuboids_have_sides_along_every_axis_that_is_chosen() -> None:
    grid = Grid(t=8, h=10, w=12)
    masker = BlockMasker(ratio=0.05, min_patches=48, over=["h", "t", "w"], exact=False)
    hidden = masker(grid, 400, generator=torch.Generator().manual_seed(0)).hidden.reshape(400, 8, 10, 12)
    sides = torch.stack([hidden.any(3).any(2).sum(1), hidden.any(3).any(1).sum(1), hidden.any(2).any(1).sum(1)], dim=1)
    single = sides.prod(dim=1) == hidden.flatten(1).sum(1)
    assert single.double().mean() > 0.5  # one cuboid of the smallest volume fills the count
    chosen = sides[single & (sides.prod(dim=1) > 0)].double()
    assert (chosen < torch.tensor([8, 10, 12])).all()
    assert (chosen.std(dim=0) > 0.5).all()  # aspects differ
    assert chosen.prod(dim=1).mean() == pytest.approx(46, abs=4)


def test_cuboids_count_exactly_and_blocks_of_other_axes_are_shared_along_the_rest() -> None:
    grid = Grid(t=6, h=8, w=8)
    whole = BlockMasker(ratio=0.5, over=["t", "h", "w"])
    assert whole.axes(grid) == {"t", "h", "w"}
    assert whole(grid, 9, generator=torch.Generator()).hidden.sum(1).tolist() == [192] * 9
    partial = BlockMasker(ratio=0.5, over=["t", "w"], min_patches=4)
    hidden = partial(grid, 9, generator=torch.Generator()).hidden.reshape(9, 6, 8, 8)
    assert partial.axes(grid) == {"t", "w"}
    assert hidden.equal(hidden[:, :, :1].expand_as(hidden))
    assert hidden[:, :, 0].flatten(1).sum(1).tolist() == [24] * 9
    with pytest.raises(ConfigError, match="has no axis 'x'"):
        BlockMasker(ratio=0.5, over=["x"])(grid, 1, generator=torch.Generator())
    with pytest.raises(ConfigError, match="each once"):
        BlockMasker(ratio=0.5, over=["t", "t"])(grid, 1, generator=torch.Generator())
