"""The vectorised inverse block masker against a plain reading of data2vec 2.0's, one sample after the other."""

import random

import pytest
import torch
from torch import Tensor

from mae_core import Grid
from mae_core.masking import InverseBlockMasker

NUM_SAMPLES = 3000


def slow_sample(side: int, ratio: float, size: int, extra: float, rng: random.Random) -> list[list[int]]:
    """1 = hidden, of side x side patches."""
    kept: set[tuple[int, int]] = set()
    for _ in range(int(side * side * ((1 - ratio + extra) / size**2))):
        row, column = divmod(rng.randrange(side * side), side)
        for y in range(row - size // 2, row - size // 2 + size):
            for x in range(column - size // 2, column - size // 2 + size):
                # the original moves what lies outside to the border, where the square is already
                kept.add((min(max(y, 0), side - 1), min(max(x, 0), side - 1)))
    every = {(y, x) for y in range(side) for x in range(side)}
    num_keep = int(side * side * (1 - ratio))
    if len(kept) > num_keep:
        kept -= set(rng.sample(sorted(kept), len(kept) - num_keep))
    else:
        kept |= set(rng.sample(sorted(every - kept), num_keep - len(kept)))
    return [[(y, x) not in kept for x in range(side)] for y in range(side)]


def both(ratio: float = 0.8, size: int = 3, extra: float = 0.07) -> tuple[Tensor, Tensor]:
    """Ours and the slow one's, (B, 14, 14) bool each."""
    masker = InverseBlockMasker(ratio=ratio, size=size, extra=extra)
    ours = masker(Grid(h=14, w=14), NUM_SAMPLES, generator=torch.Generator().manual_seed(0)).hidden.reshape(-1, 14, 14)
    rng = random.Random(0)
    return ours, torch.tensor([slow_sample(14, ratio, size, extra, rng) for _ in range(NUM_SAMPLES)])


def num_borders(hidden: Tensor) -> Tensor:
    """(B,): neighbours of which one is hidden."""
    return (hidden[:, 1:] != hidden[:, :-1]).sum((1, 2)) + (hidden[:, :, 1:] != hidden[:, :, :-1]).sum((1, 2))


def assert_same_mean(ours: Tensor, slow: Tensor) -> None:
    ours, slow = ours.double(), slow.double()
    error = ((ours.var(0) + slow.var(0)) / NUM_SAMPLES).sqrt()
    assert ((ours.mean(0) - slow.mean(0)).abs() <= 5 * error).all()


@pytest.mark.parametrize(("ratio", "size", "kept"), [(0.8, 3, 39), (0.75, 3, 49), (0.5, 4, 98)])
def test_blocks_are_those_of_the_slow_one(ratio: float, size: int, kept: int) -> None:
    ours, slow = both(ratio, size)
    assert (~ours).sum((1, 2)).unique().tolist() == (~slow).sum((1, 2)).unique().tolist() == [kept]
    assert_same_mean(ours, slow)  # how often each place is hidden
    assert_same_mean(num_borders(ours), num_borders(slow))
    inner = (~ours).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).all(3).sum((1, 2))  # whole 3 x 3 squares
    assert_same_mean(inner, (~slow).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).all(3).sum((1, 2)))


def test_without_squares_it_is_random_masking() -> None:
    hidden = InverseBlockMasker(ratio=0.8, size=14)(Grid(h=14, w=14), 4000, generator=torch.Generator().manual_seed(0)).hidden
    assert torch.allclose(hidden.double().mean(0), torch.tensor(157 / 196).double(), atol=0.035)


def test_blocks_are_tubes_along_further_axes() -> None:
    hidden = InverseBlockMasker(ratio=0.75)(Grid(t=3, h=8, w=10), 20, generator=torch.Generator().manual_seed(0)).hidden
    rows = hidden.reshape(20, 3, 80)
    assert rows.equal(rows[:, :1].expand_as(rows))
    assert rows[:, 0].sum(1).tolist() == [60] * 20
