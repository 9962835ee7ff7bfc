"""Multi-block masks: I-JEPA's and V-JEPA's, against a plain reading of them, one sample after the other."""

import math
import random

import pytest
import torch
from torch import Tensor

from mae_core import Grid, Mask
from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Masker, each_mask
from mae_core.masking import MultiBlockMasker
from mae_registry import ConfigError

PLANE = Grid(h=14, w=14)
I_JEPA = MultiBlockMasker(reach_end=False)
V_JEPA_SECTION = {
    "name": "multi_block",
    "targets": [{"num_blocks": 8, "scale": [0.15, 0.15]}, {"num_blocks": 2, "scale": [0.7, 0.7]}],
    "context_scale": None,
    "predict": "union",
    "min_keep": 1,
}
V_JEPA = masker_from_section(V_JEPA_SECTION)


def draw(masker: Masker, grid: Grid = PLANE, batch_size: int = 20, seed: int = 0) -> tuple[Mask, ...]:
    """One mask for each query of each context."""
    drawn = masker(grid, batch_size, generator=torch.Generator().manual_seed(seed))
    return tuple(query for mask in each_mask(drawn) for query in mask.each_query())


def as_set(ids: Tensor, grid: Grid = PLANE) -> Tensor:
    """(B, K) -> (B, N) bool."""
    return torch.zeros(len(ids), grid.num_patches, dtype=torch.bool).scatter(1, ids, True)


def sides(block: Tensor) -> tuple[int, int]:
    """Of the rectangle that (H, W) bool must be."""
    height, width = int(block.any(1).sum()), int(block.any(0).sum())
    rows, columns = block.any(1).nonzero().flatten(), block.any(0).nonzero().flatten()
    assert block[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert height * width == int(block.sum())
    return height, width


def first_ids(chosen: Tensor) -> list[list[int]]:
    """Of every row the first patches, as many as the smallest row has."""
    num_ids = int(chosen.sum(1).min())
    return [row.nonzero().flatten()[:num_ids].tolist() for row in chosen]


# ---- against the slow ones


def slow_size(scale: tuple[float, float], aspect: tuple[float, float], rng: random.Random, largest: int) -> tuple[int, int]:
    part = rng.random()
    area = int(196 * (scale[0] + part * (scale[1] - scale[0])))
    ratio = aspect[0] + part * (aspect[1] - aspect[0])
    return min(round(math.sqrt(area * ratio)), largest), min(round(math.sqrt(area / ratio)), largest)


def slow_block(size: tuple[int, int], side: int, rng: random.Random) -> set[int]:
    top, left = rng.randint(0, side - size[0]), rng.randint(0, side - size[1])
    return {y * 14 + x for y in range(top, top + size[0]) for x in range(left, left + size[1])}


def slow_i_jepa(min_keep: int, context_scale: tuple[float, float], rng: random.Random) -> tuple[set[int], set[int]]:
    """(context, all targets) of one sample. Blocks never reach the last row or column: they lie in 13 x 13."""
    target_size = slow_size((0.15, 0.2), (0.75, 1.5), rng, 13)
    context_size = slow_size(context_scale, (1, 1), rng, 13)
    targets = [slow_block(target_size, 13, rng) for _ in range(4)]
    num_tries, num_avoided = 0, 4
    while True:
        context = slow_block(context_size, 13, rng).difference(*targets[:num_avoided])
        if len(context) > min_keep:
            return context, set().union(*targets)
        num_tries += 1
        if num_tries % 20 == 0:
            num_avoided = max(num_avoided - 1, 0)


def slow_v_jepa(num_blocks: int, scale: float, rng: random.Random) -> tuple[set[int], set[int]]:
    """(context, all targets) of one sample of one frame."""
    while True:
        size = slow_size((scale, scale), (0.75, 1.5), rng, 14)
        for _ in range(1000):  # the size is the batch's, so that a sample without a context keeps it
            targets = set[int]().union(*(slow_block(size, 14, rng) for _ in range(num_blocks)))
            if len(targets) < 196:
                return set(range(196)) - targets, targets


def assert_same_law(ours: list[tuple[Tensor, Tensor]], slow: list[tuple[set[int], set[int]]]) -> None:
    """How often each place is in the context and in a target, and how large these are."""
    for index in (0, 1):
        one = torch.stack([pair[index] for pair in ours]).double()
        other = torch.zeros(len(slow), 196, dtype=torch.float64)
        for row, pair in zip(other, slow, strict=True):
            row[list(pair[index])] = 1
        for a, b in ((one, other), (one.sum(1), other.sum(1)), (one.sum(1) ** 2, other.sum(1) ** 2)):
            error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
            assert ((a.mean(0) - b.mean(0)).abs() <= 5 * error).all()


@pytest.mark.parametrize(("min_keep", "context_scale", "num_samples"), [(10, (0.85, 1.0), 1000), (50, (0.3, 0.5), 400)])
def test_i_jepa_samples_follow_the_slow_law(min_keep: int, context_scale: tuple[float, float], num_samples: int) -> None:
    """One sample a batch, so that nothing is cut; the second context is often forced to overlap with targets."""
    masker = MultiBlockMasker(reach_end=False, min_keep=min_keep + 1, context_scale=context_scale, predict="union")
    ours = []
    for seed in range(num_samples):
        (mask,) = draw(masker, batch_size=1, seed=seed)
        ours.append((as_set(mask.ids_keep)[0], as_set(mask.ids_predict)[0]))
    rng = random.Random(0)
    assert_same_law(ours, [slow_i_jepa(min_keep, context_scale, rng) for _ in range(num_samples)])


@pytest.mark.parametrize(("index", "num_blocks", "scale"), [(0, 8, 0.15), (1, 2, 0.7)])
def test_v_jepa_samples_follow_the_slow_law(index: int, num_blocks: int, scale: float) -> None:
    ours = []
    for seed in range(1000):
        mask = each_mask(V_JEPA(PLANE, 1, generator=torch.Generator().manual_seed(seed)))[index]
        ours.append((as_set(mask.ids_keep)[0], as_set(mask.ids_predict)[0]))
    rng = random.Random(0)
    assert_same_law(ours, [slow_v_jepa(num_blocks, scale, rng) for _ in range(1000)])


# ---- what is shared, what is cut


def test_i_jepa_predicts_four_blocks_of_one_size_from_one_context() -> None:
    for seed in range(20):
        (drawn,) = each_mask(I_JEPA(PLANE, 20, generator=torch.Generator().manual_seed(seed)))
        assert len(drawn.queries) == 4
        assert all(query.counts.all() for query in drawn.queries)
        masks = tuple(drawn.each_query())
        blocks = torch.stack([as_set(mask.ids_predict).reshape(-1, 14, 14) for mask in masks]).flatten(0, 1)
        (size,) = {sides(block) for block in blocks}
        assert size in {(5, 7), (5, 6), (6, 6), (7, 5), (6, 5), (7, 6), (8, 5)}
        assert len(blocks.flatten(1).unique(dim=0)) > 20
        context = torch.ones(14, 14, dtype=torch.bool)
        context[13], context[:, 13] = False, False  # a block of 0.85 or more is all that blocks can reach
        context = context.flatten() & ~torch.stack([as_set(mask.ids_predict) for mask in masks]).any(0)
        assert masks[0].ids_keep.tolist() == first_ids(context)
        assert masks[0].hidden.equal(~as_set(masks[0].ids_keep))


def test_blocks_reach_the_end_unless_told_not_to() -> None:
    for reach_end in (True, False):
        masks = [mask for seed in range(20) for mask in draw(MultiBlockMasker(reach_end=reach_end), seed=seed)]
        seen = torch.cat([as_set(mask.ids_keep) | as_set(mask.ids_predict) for mask in masks]).any(0).reshape(14, 14)
        assert seen[:13, :13].all()
        assert bool(seen[13].any()) == bool(seen[:, 13].any()) == reach_end


def test_v_jepa_predicts_the_union_of_each_context_of_its_own() -> None:
    grid = Grid(t=4, h=14, w=14)
    masks = draw(V_JEPA, grid)
    one_by_one = masker_from_section({**V_JEPA_SECTION, "predict": "blocks"})  # draws the same blocks, and does not cut them
    blocks = [as_set(mask.ids_predict, grid) for mask in draw(one_by_one, grid)]
    assert (len(masks), len(blocks)) == (2, 10)
    assert len(each_mask(V_JEPA(grid, 20, generator=torch.Generator()))) == 2
    for mask, union in zip(masks, (torch.stack(blocks[:8]).any(0), torch.stack(blocks[8:]).any(0)), strict=True):
        tubes = union.reshape(20, 4, 196)
        assert tubes.equal(tubes[:, :1].expand_as(tubes))
        assert len(union.sum(1).unique()) > 1  # so that rows are cut
        assert mask.ids_predict.tolist() == first_ids(union)
        assert mask.ids_keep.tolist() == first_ids(~union)
        assert mask.hidden.equal(~as_set(mask.ids_keep, grid))  # what is cut from the context is hidden
    assert {sides(row.reshape(4, 14, 14)[0]) for row in blocks[0]} <= {(5, 6), (6, 5), (6, 6), (7, 4), (5, 5)}
    assert {sides(row.reshape(4, 14, 14)[0]) for row in blocks[8]} <= {(h, w) for h in range(10, 15) for w in range(9, 14)}


# ---- what counts in the loss


CROWDED = MultiBlockMasker(min_keep=80, context_scale=(0.5, 0.6), targets=[{"num_blocks": 3, "scale": (0.3, 0.4)}])
"""Contexts of which hardly a patch may be left out, so that they show some of what is predicted."""


def test_all_that_is_predicted_counts() -> None:
    seen = []
    for mask in draw(CROWDED):
        (query,) = mask.queries
        assert query.counts.all()
        seen.append(bool((~mask.hidden.gather(1, query.ids)).any()))
    assert any(seen)


def test_or_only_what_the_context_does_not_show() -> None:
    masker = masker_from_section(
        {
            "name": "multi_block",
            "min_keep": 80,
            "context_scale": [0.5, 0.6],
            "targets": [{"num_blocks": 3, "scale": [0.3, 0.4]}],
            "counts": "hidden",
        }
    )
    seen = []
    for mask in draw(masker):
        (query,) = mask.queries
        assert query.counts.equal(mask.hidden.gather(1, query.ids))
        assert query.counts.any(dim=1).all()  # no sample is without something to learn
        seen.append(not query.counts.all())
    assert any(seen)


# ---- what is refused


@pytest.mark.parametrize(
    ("section", "grid", "message"),
    [
        ({}, Grid(t=9), "multi_block masking needs two axes or more; the grid t=9 has one: use {name: random}"),
        (
            {},
            Grid(t=9, h=1, w=1),
            "the last two axes of the grid t=9 h=1 w=1 have one position: no block of it has anything around it",
        ),
        (
            {"context_scale": [0.3, 0.3], "min_keep": 65},
            PLANE,
            "a context block of 8 x 8 on the grid h=14 w=14 keeps fewer than min_keep, 65 patches; "
            "raise context_scale or lower min_keep",
        ),
        (
            {"context_scale": None, "targets": [{"num_blocks": 1, "scale": [1, 1]}], "target_aspect": [1, 1]},
            PLANE,
            "1 target blocks of 14 x 14 on the grid h=14 w=14 do not leave a context of min_keep, 11 patches, in 1000 draws; "
            "lower num_blocks, scale or min_keep",
        ),
        (
            {"context_scale": [1, 1], "min_keep": 100, "counts": "hidden", "targets": [{"num_blocks": 4, "scale": [0.5, 0.5]}]},
            Grid(h=11, w=11),
            "contexts of 11 x 11 and 100 patches or more (min_keep) show all of a target on the grid h=11 w=11, "
            "so that nothing is left to predict; lower num_blocks, scale or min_keep",
        ),
        (
            {"target_aspect": [1.5, 0.75]},
            PLANE,
            "masker: target_aspect: [1.5, 0.75] is not allowed: must be [smallest, largest]",
        ),
        (
            {"targets": [{"num_blocks": 1, "scale": [0.3, 0.2]}]},
            PLANE,
            'masker: targets: [{"num_blocks": 1, "scale": [0.3, 0.2]}] is not allowed: must be [smallest, largest]',
        ),
    ],
)
def test_refusals(section: dict[str, object], grid: Grid, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        masker_from_section({"name": "multi_block", **section})(grid, 2, generator=torch.Generator())
    assert str(error.value) == message


@pytest.mark.parametrize("targets", ["[]", "[{num_blocks: 2}]", "[{num_blocks: 2, scale: [0.1, 0.2], aspect: 1}]", "4"])
def test_targets_are_checked(targets: str) -> None:
    with pytest.raises(ConfigError, match=r"^masker: targets: .* is not allowed: must be a list"):
        masker_from_section(f"{{name: multi_block, targets: {targets}}}")
