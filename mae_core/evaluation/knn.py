"""Weighted k-nearest neighbours (Wu et al. 2018, Caron et al. 2021): what features are worth without any training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.interfaces import Dataset
from mae_registry import MaeError

KS = (10, 20, 100, 200)
"""Numbers of neighbours that are usually reported."""
USUAL_K = 20
"""The one whose accuracy stands for the protocol, so that none is picked by its result on the held-out data."""
TEMPERATURE = 0.07
QUERY_BLOCK, BANK_BLOCK = 512, 16384
"""Rows and columns of the similarities that are in memory at once: 32 MiB."""


@dataclass(frozen=True)
class Votes:
    """What neighbours say of each query."""

    scores: Mapping[int, Tensor]
    """For each k, (queries, classes): the sum of the votes of the k nearest samples for each class."""
    targets: Tensor
    """(queries,) int64."""

    @property
    def k(self) -> int:
        """The k that stands for all: 20, or the nearest one to it that was asked for."""
        return min(self.scores, key=lambda k: abs(k - USUAL_K))

    def accuracy(self, k: int, *, top: int = 1) -> float:
        """The share of queries whose class is among the `top` ones with the most votes."""
        scores = self.scores[k]
        return top_accuracy(scores.masked_fill(scores == 0, -torch.inf), self.targets, top=top)


def classify(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    targets: Tensor,
    *,
    num_classes: int,
    ks: Sequence[int] = KS,
    temperature: float = TEMPERATURE,
) -> Votes:
    """Each query (Q, D) is classified by its nearest samples of the bank (S, D), by cosine similarity.

    A neighbour votes for its label with the weight exp(similarity / temperature). Numbers of neighbours that the bank does not
    have are left out; where it has fewer than any of them, all of it votes. Labels and targets are (S,) and (Q,) int64.
    """
    assert labels.ndim == targets.ndim == 1, "samples with several labels are refused by require_one_label"
    possible = [k for k in sorted(set(ks)) if k <= len(bank)] or [len(bank)]
    similarities, neighbours = find_neighbours(bank, queries, k=possible[-1])
    weights, voted = (similarities / temperature).exp(), labels[neighbours]
    scores = {}
    for k in possible:
        empty = torch.zeros(len(queries), num_classes)
        scores[k] = empty.scatter_add_(1, voted[:, :k], weights[:, :k])
    return Votes(scores, targets)


def require_one_label(*datasets: Dataset) -> None:
    """Raise MaeError for samples that may have several labels."""
    if any(dataset.labels is not None and dataset.labels.several for dataset in datasets):
        raise MaeError(
            "k-NN needs exactly one label for each sample, and these samples may have several; mae probe --fast measures those"
        )


def find_neighbours(bank: Tensor, queries: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities (Q, k) of the k most similar samples of the bank, most similar first, and their numbers (Q, k)."""
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    found = [_nearest(bank, block, k) for block in queries.split(QUERY_BLOCK)]
    return torch.cat([similarities for similarities, _ in found]), torch.cat([numbers for _, numbers in found])


def _nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of one block of queries; the best of each block of the bank compete with the best so far."""
    best = queries.new_zeros(len(queries), 0)
    numbers = torch.zeros(len(queries), 0, dtype=torch.int64, device=queries.device)
    for first in range(0, len(bank), BANK_BLOCK):
        block = bank[first : first + BANK_BLOCK]
        near = (queries @ block.T).topk(min(k, len(block)), dim=1)
        values, candidates = torch.cat([best, near.values], 1), torch.cat([numbers, near.indices + first], 1)
        best, places = values.topk(min(k, values.shape[1]), dim=1)
        numbers = candidates.gather(1, places)
    return best, numbers


def top_accuracy(scores: Tensor, targets: Tensor, *, top: int = 1) -> float:
    """The share of rows (N, classes) whose class is among the `top` highest scores. A score of -inf is never among them."""
    best = scores.topk(min(top, scores.shape[1]), dim=1)
    found = (best.indices == targets[:, None]) & (best.values > -torch.inf)
    return found.any(dim=1).double().mean().item()
