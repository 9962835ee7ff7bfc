"""Splits of labelled data: every class on both sides, in proportion, and the same for the same seed."""

import pytest
import torch

from mae_core.data.splits import hold_out
from mae_core.interfaces import Labels
from mae_registry import MaeError


def labels_of(*counts: int) -> Labels:
    """Samples of each class, shuffled."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shuffled = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(9))]
    return Labels(tuple(f"c{number}" for number in range(len(counts))), shuffled)


def test_each_class_gives_its_share_and_at_least_one_but_not_all() -> None:
    labels = labels_of(100, 2, 3, 11, 40)
    held_out = hold_out(labels, share=0.2, seed=0)
    assert torch.bincount(labels.targets[held_out], minlength=5).tolist() == [20, 1, 1, 2, 8]
    nearly_all = hold_out(labels, share=1.0, seed=0)
    assert torch.bincount(labels.targets[nearly_all], minlength=5).tolist() == [99, 1, 2, 10, 39]


def test_the_seed_says_which() -> None:
    labels = labels_of(50, 50)
    held_out = hold_out(labels, share=0.5, seed=3)
    assert hold_out(labels, share=0.5, seed=3).equal(held_out)
    assert not hold_out(labels, share=0.5, seed=4).equal(held_out)


def test_every_sample_of_a_class_is_as_likely_as_another() -> None:
    labels = labels_of(10, 5)
    times = torch.stack([hold_out(labels, share=0.4, seed=seed) for seed in range(1000)]).float().mean(dim=0)
    assert torch.allclose(times, torch.tensor(0.4), atol=0.06)  # four standard deviations


def test_of_several_labels_the_rarest_counts() -> None:
    targets = torch.zeros(100, 3)
    targets[:, 0] = 1
    targets[:10, 1] = 1
    targets[8:12, 2] = 1
    held_out = hold_out(Labels(("often", "seldom", "rare"), targets), share=0.25, seed=0)
    assert held_out[8:12].sum() == 1
    assert held_out[:8].sum() == 2
    assert held_out[12:].sum() == 22


def test_a_class_of_one_sample_cannot_be_split() -> None:
    with pytest.raises(MaeError, match=r"2 of 3 classes have one sample only \(c0, c2\)"):
        hold_out(labels_of(1, 5, 1), share=0.2, seed=0)
