"""Labelled data in two: samples to train on and samples that are held out."""

import torch
from torch import Tensor

from mae_core.interfaces import Labels
from mae_registry import MaeError, some_of

TRAIN, HELD_OUT = "train", "val"
"""What splits that are made here are called in their CSV files."""


def hold_out(labels: Labels, *, share: float, seed: int) -> Tensor:
    """(samples,) bool: a random `share` of each class's samples, at least one of each class, and never all of them.

    A sample with several labels counts for the rarest class of them. The same seed gives the same samples. Raises MaeError that
    names the classes with a single sample.
    """
    groups = _groups(labels)
    counts = torch.bincount(groups, minlength=len(labels.names))
    alone = [labels.names[index] for index in (labels.counts() == 1).nonzero()[:, 0].tolist()]
    if alone:
        raise MaeError(
            f"{len(alone)} of {len(labels.names)} classes have one sample only ({some_of(alone)}), which cannot be both "
            "trained on and held out; add samples of these classes, or leave the classes out"
        )
    numbers = (counts * share).round().long().clamp(min=1).minimum(counts - 1)
    shuffled = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[groups[shuffled].argsort(stable=True)]
    firsts = counts.cumsum(0) - counts
    places = torch.arange(len(groups)) - firsts[groups[by_class]]
    held_out = torch.zeros(len(groups), dtype=torch.bool)
    held_out[by_class] = places < numbers[groups[by_class]]
    return held_out


def _groups(labels: Labels) -> Tensor:
    """(samples,) int64: the class that each sample counts for."""
    if not labels.several:
        return labels.targets
    counts = labels.counts().to(torch.float64)
    return torch.where(labels.targets > 0, counts, torch.inf).argmin(dim=1)
