"""Weighted k-nearest neighbours against plain loops."""

import math

import pytest
import torch
from tones import Tones
from torch import Tensor

from mae_core.evaluation import knn
from mae_core.interfaces import Labels
from mae_registry import MaeError

NUM_CLASSES = 6


def random_data(num_samples: int, num_queries: int, width: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(NUM_CLASSES, width, generator=generator)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
        return centres[labels] + torch.randn(count, width, generator=generator), labels

    return *draw(num_samples), *draw(num_queries)


def scores_by_loops(bank: Tensor, labels: Tensor, queries: Tensor, k: int) -> list[list[float]]:
    """The protocol as one would write it down, one pair of samples at a time."""
    rows = []
    for query in queries.double():
        similar = []
        for sample, label in zip(bank.double(), labels.tolist(), strict=True):
            cosine = float(query @ sample) / math.sqrt(float(query @ query) * float(sample @ sample))
            similar.append((cosine, label))
        votes = [0.0] * NUM_CLASSES
        for cosine, label in sorted(similar, reverse=True)[:k]:
            votes[label] += math.exp(cosine / 0.07)
        rows.append(votes)
    return rows


@pytest.mark.parametrize("blocks", [(512, 16384), (4, 7)])
def test_votes_are_those_of_plain_loops(monkeypatch, blocks):
    monkeypatch.setattr(knn, "QUERY_BLOCK", blocks[0])
    monkeypatch.setattr(knn, "BANK_BLOCK", blocks[1])
    bank, labels, queries, targets = random_data(60, 15)
    votes = knn.classify(bank, labels, queries, targets, num_classes=NUM_CLASSES, ks=[1, 10, 20])
    assert list(votes.scores) == [1, 10, 20]
    for k, scores in votes.scores.items():
        expected = torch.tensor(scores_by_loops(bank, labels, queries, k))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
        by_hand = [max(range(NUM_CLASSES), key=row.__getitem__) for row in expected.tolist()]
        right = sum(found == target for found, target in zip(by_hand, targets.tolist(), strict=True))
        assert votes.accuracy(k) == pytest.approx(right / len(targets))
        order = [sorted(range(NUM_CLASSES), key=row.__getitem__, reverse=True)[:3] for row in expected.tolist()]
        among = sum(target in best for best, target in zip(order, targets.tolist(), strict=True))
        if k > 1:  # with one vote, all classes but one tie
            assert votes.accuracy(k, top=3) == pytest.approx(among / len(targets))


def test_lengths_of_features_do_not_matter():
    bank, labels, queries, targets = random_data(40, 10)
    scales = torch.linspace(0.1, 9, 40)[:, None]
    plain, scaled = (knn.classify(x, labels, queries, targets, num_classes=NUM_CLASSES) for x in (bank, bank * scales))
    torch.testing.assert_close(plain.scores[10], scaled.scores[10], rtol=1e-3, atol=0)


@pytest.mark.parametrize(("num_samples", "expected"), [(8, [8]), (20, [10, 20]), (150, [10, 20, 100])])
def test_no_more_neighbours_than_there_are_samples(num_samples, expected):
    bank, labels, queries, targets = random_data(num_samples, 5)
    votes = knn.classify(bank, labels, queries, targets, num_classes=NUM_CLASSES)
    assert list(votes.scores) == expected
    assert votes.k == min(20, num_samples)


def test_samples_with_several_labels_are_refused():
    one = Tones((3, 24, 32))
    several = Tones((3, 24, 32))
    several.labels = Labels(("low", "high"), torch.ones(24, 2))
    knn.require_one_label(one)
    with pytest.raises(MaeError, match=r"exactly one label .* mae probe --fast"):
        knn.require_one_label(one, several)


def test_a_class_that_nobody_voted_for_is_no_answer():
    """Where fewer classes than five have votes, the others tie at nothing: none of them counts as found."""
    bank, queries = torch.eye(3), torch.eye(3)
    votes = knn.classify(bank, torch.tensor([0, 1, 2]), queries, torch.tensor([0, 5, 4]), num_classes=6, ks=[1])
    assert votes.accuracy(1, top=5) == pytest.approx(1 / 3)
