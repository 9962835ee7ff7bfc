"""A linear probe over features that are computed once: a grid of heads, of which a validation split picks one.

S samples, D width, C classes.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.data.splits import hold_out
from mae_core.evaluation.features import Features, Readout, require_targets
from mae_core.evaluation.linear_heads import Heads, Standardizer, train_heads
from mae_core.interfaces import Labels
from mae_core.masking.sampling import derive_seed
from mae_core.runs.scoring import Predictions, judge

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
DECAYS = (0.0,)
"""With learning rates over this range, weight decay gives no more: a small rate is as good a restraint."""
VALIDATION_SHARE = 0.1


class Candidate(NamedTuple):
    """What one head of the grid is trained with."""

    readout: Readout
    rate: float
    decay: float


@dataclass(frozen=True)
class Tried:
    """A head of the grid, and what was found on the validation split, one value a seed."""

    candidate: Candidate
    values: Sequence[float]
    """Of the metric."""
    losses: Sequence[float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)


@dataclass(frozen=True)
class Probed:
    """What a fast probe found."""

    metric: str
    """What the grid was compared by: "accuracy", or "map" where samples may have several labels."""
    table: Sequence[Tried]
    """The whole grid, best first."""
    predictions: Sequence[Predictions]
    """Of the held-out samples, by the best of the table trained again on all training samples; one a seed."""

    @property
    def best(self) -> Candidate:
        """The one that the validation split picked."""
        return self.table[0].candidate


def fast_probe(
    train: Sequence[Features],
    held_out: Features,
    *,
    classes: Sequence[str],
    seeds: Sequence[int] = (0,),
    rates: Sequence[float] = RATES,
    decays: Sequence[float] = DECAYS,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], object] | None = None,
) -> Probed:
    """Train a head for every readout, learning rate and weight decay; pick one; measure that one on held-out samples.

    Features are standardised by mean and variance of the training samples, as BatchNorm without parameters does. The grid is
    compared on a tenth of the training samples, stratified by class and drawn anew for each seed; held-out samples have no part
    in that.

    Args:
        train: views of the same samples, the un-augmented one first, which alone is used for validation.
        classes: a label is an index into them.
        seeds: of the validation split and of the order of samples.
        device: where heads are trained.
        progress: called with the number of trainings that are done, and of all.

    Raises MaeError for samples without labels, or too few of them.
    """
    probe = _Probe(train, held_out, classes, rates=rates, decays=decays, device=torch.device(device))
    num_trainings, done = len(seeds) * (len(probe.readouts) + 1), 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, num_trainings)

    found = [probe.try_all(seed, count) for seed in seeds]
    table = [
        Tried(candidate, [of_seed[candidate][0] for of_seed in found], [of_seed[candidate][1] for of_seed in found])
        for candidate in found[0]
    ]
    table.sort(key=lambda tried: (-tried.mean, statistics.fmean(tried.losses)))
    predictions: list[Predictions] = []
    for seed in seeds:
        predictions.append(probe.predict(table[0].candidate, seed))
        count()
    return Probed(probe.metric, table, predictions)


class _Probe:
    """The data of a probe."""

    def __init__(
        self,
        train: Sequence[Features],
        held_out: Features,
        classes: Sequence[str],
        *,
        rates: Sequence[float],
        decays: Sequence[float],
        device: torch.device,
    ) -> None:
        self._train, self._held_out, self._classes, self._device = train, held_out, classes, device
        self._grid = list(product(rates, decays))
        self.readouts = list(train[0].vectors)
        self._targets = [require_targets(view) for view in train]
        self._labels = self._targets[0]
        self._several = self._labels.ndim == 2
        self.metric = "map" if self._several else "accuracy"
        require_targets(held_out)

    def try_all(self, seed: int, count: Callable[[], object]) -> dict[Candidate, tuple[float, float]]:
        """The metric and the loss of every head on this seed's validation split."""
        labels = Labels(tuple(self._classes), self._labels)
        validated = hold_out(labels, share=VALIDATION_SHARE, seed=derive_seed(seed, "validation split"))
        apart = self._train[0].indices[validated]
        kept = [~torch.isin(view.indices, apart) for view in self._train]
        found: dict[Candidate, tuple[float, float]] = {}
        for readout in self.readouts:
            heads, standardize = self._fit(readout, self._grid, kept, seed)
            scores = heads(standardize(self._train[0].vectors[readout][validated].to(self._device))).cpu()
            for place, (rate, decay) in enumerate(self._grid):
                found[Candidate(readout, rate, decay)] = self._measure(scores[:, place], self._labels[validated])
            count()
        return found

    def predict(self, candidate: Candidate, seed: int) -> Predictions:
        """Of the held-out samples, after a training on all training samples."""
        everything = [torch.ones(len(view.indices), dtype=torch.bool) for view in self._train]
        heads, standardize = self._fit(candidate.readout, [(candidate.rate, candidate.decay)], everything, seed)
        scores = heads(standardize(self._held_out.vectors[candidate.readout].to(self._device)))[:, 0].cpu()
        probabilities = scores.sigmoid() if self._several else scores.softmax(dim=1)
        return Predictions(self._held_out.names, require_targets(self._held_out), probabilities)

    def _fit(
        self, readout: Readout, grid: Sequence[tuple[float, float]], kept: Sequence[Tensor], seed: int
    ) -> tuple[Heads, Standardizer]:
        views = zip(self._train, self._targets, kept, strict=True)
        parts = [(view.vectors[readout][rows], targets[rows]) for view, targets, rows in views]
        x = torch.cat([vectors for vectors, _ in parts]).to(self._device)
        targets = torch.cat([targets for _, targets in parts]).to(self._device)
        standardize = Standardizer.of(x)
        rates, decays = zip(*grid, strict=True)
        seed, num_classes = derive_seed(seed, "order"), len(self._classes)
        return train_heads(standardize(x), targets, num_classes=num_classes, rates=rates, decays=decays, seed=seed), standardize

    def _measure(self, scores: Tensor, labels: Tensor) -> tuple[float, float]:
        judged = judge(Predictions([""] * len(scores), labels, scores), self._classes)
        if self._several:
            return judged.metrics[self.metric], F.binary_cross_entropy_with_logits(scores, labels).item()
        return judged.metrics[self.metric], F.cross_entropy(scores, labels).item()
