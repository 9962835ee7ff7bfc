"""Heads over cached features: against torch's own optimizer and a converged logistic regression, and picked without peeking."""

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.evaluation import linear_heads
from mae_core.evaluation.fast_probe import fast_probe
from mae_core.evaluation.features import Features, Readout
from mae_core.evaluation.linear_heads import Standardizer, train_heads
from mae_registry import MaeError

CLASSES = ("bird", "cat", "dog", "fish")
GOOD, NOISE = Readout("mean"), Readout("cls", 1)


def overlapping(num_samples: int, *, seed: int, width: int = 12) -> tuple[Tensor, Tensor]:
    """Classes that overlap, in directions of very unequal spread: (samples, width), (samples,)."""
    fixed, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    centres, scales = torch.randn(4, width, generator=fixed), torch.logspace(0, -1.5, width)
    mixing = torch.randn(width, width, generator=fixed)
    labels = torch.randint(4, (num_samples,), generator=generator)
    x = (centres[labels] + 1.2 * torch.randn(num_samples, width, generator=generator)) * scales
    return x @ mixing + 5, labels


def features(x: Tensor, targets: Tensor | None, *, noise: int | None = None) -> Features:
    vectors = {GOOD: x}
    if noise is not None:
        vectors[NOISE] = torch.randn(x.shape, generator=torch.Generator().manual_seed(noise))
    return Features([f"sample {i}" for i in range(len(x))], torch.arange(len(x)), vectors, targets, [])


def train_one_by_one(
    x: Tensor, targets: Tensor, rate: float, decay: float, batches: Sequence[Tensor], num_classes: int
) -> tuple[Tensor, Tensor]:
    """The same head through autograd and torch's optimizer."""
    weight = torch.zeros(x.shape[1], num_classes, requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    groups = [{"params": [weight], "weight_decay": decay}, {"params": [bias]}]
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9)
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        scores = x[rows] @ weight + bias
        if targets.ndim == 1:
            loss = F.cross_entropy(scores, targets[rows])
        else:
            loss = F.binary_cross_entropy_with_logits(scores, targets[rows], reduction="sum") / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach(), bias.detach()


@pytest.mark.parametrize("several", [False, True])
def test_heads_that_are_trained_at_once_are_those_trained_one_by_one(monkeypatch, several):
    monkeypatch.setattr(linear_heads, "BATCH_SIZE", 16)
    x, labels = overlapping(50, seed=1)
    x = Standardizer.of(x)(x)
    targets = F.one_hot(labels, 4).float().index_fill(1, torch.tensor([0]), 1) if several else labels
    rates, decays = [0.3, 0.03, 0.03], [0.0, 0.0, 0.1]
    heads = train_heads(x, targets, num_classes=4, rates=rates, decays=decays, num_steps=20, seed=3)
    batches = list(linear_heads._batches(50, 20, 3))
    assert [len(rows) for rows in batches] == [16] * 20
    assert len(torch.cat(batches[:3]).unique()) == 48
    for place, (rate, decay) in enumerate(zip(rates, decays, strict=True)):
        weight, bias = train_one_by_one(x, targets, rate, decay, batches, 4)
        torch.testing.assert_close(heads.weight[:, place], weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(heads.bias[place], bias, rtol=1e-4, atol=1e-6)


def converged_regression(x: Tensor, labels: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(x.shape[1], 4, requires_grad=True)
    bias = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType] - it returns a tensor, as documented
    return weight.detach(), bias.detach()


def test_it_is_as_good_as_logistic_regression_with_the_best_decay_on_the_held_out_data():
    (x, labels), (other, expected) = overlapping(400, seed=1), overlapping(2000, seed=2)
    found = fast_probe([features(x, labels)], features(other, expected), classes=CLASSES)
    accuracy = (found.predictions[0].scores.argmax(1) == expected).double().mean().item()
    standardize = Standardizer.of(x)
    regressions = [converged_regression(standardize(x), labels, decay) for decay in (0, 1e-4, 1e-3, 1e-2, 1e-1)]
    best = max(
        ((standardize(other) @ weight + bias).argmax(1) == expected).double().mean().item() for weight, bias in regressions
    )
    assert best > 0.6  # there is something to find
    assert accuracy > best - 0.01


def test_the_pick_is_made_on_training_samples_alone():
    (x, labels), (other, expected) = overlapping(200, seed=1), overlapping(60, seed=2)
    rates = [1e-6, 0.03]
    train = features(x, labels, noise=1)
    found = fast_probe([train], features(other, expected, noise=2), classes=CLASSES, rates=rates, seeds=[0, 1])
    assert found.metric == "accuracy"
    assert found.best.readout == GOOD
    assert len(found.table) == 4
    means = [tried.mean for tried in found.table]
    assert means == sorted(means, reverse=True)
    assert all(len(tried.values) == 2 for tried in found.table)
    nonsense = features(torch.zeros_like(other), expected.flip(0), noise=5)
    again = fast_probe([train], nonsense, classes=CLASSES, rates=rates, seeds=[0, 1])
    assert [tried.candidate for tried in again.table] == [tried.candidate for tried in found.table]
    assert [tried.values for tried in again.table] == [tried.values for tried in found.table]


def test_seeds_differ_and_one_seed_gives_the_same_bits():
    (x, labels), (other, expected) = overlapping(100, seed=1), overlapping(30, seed=2)
    first, second = (
        fast_probe([features(x, labels)], features(other, expected), classes=CLASSES, rates=[0.03], seeds=[0, 1])
        for _ in range(2)
    )
    for one, same in zip(first.predictions, second.predictions, strict=True):
        assert torch.equal(one.scores, same.scores)
    assert not torch.equal(first.predictions[0].scores, first.predictions[1].scores)


def test_augmented_views_are_trained_on_and_never_validated_with():
    """A view whose features are exchanged between two classes ruins what is learned, but not what is measured."""
    (x, labels), (other, expected) = overlapping(200, seed=1), overlapping(200, seed=2)
    exchanged = torch.tensor([1, 0, 3, 2])[labels]
    views = [features(x, labels), features(x, exchanged), features(x, exchanged)]
    found = fast_probe(views, features(other, expected), classes=CLASSES, rates=[0.03])
    alone = fast_probe(views[:1], features(other, expected), classes=CLASSES, rates=[0.03])
    assert found.table[0].mean < alone.table[0].mean - 0.2
    assert (found.predictions[0].scores.argmax(1) == expected).double().mean() < 0.4


def test_samples_with_several_labels_are_compared_by_mean_average_precision():
    (x, labels), (other, expected) = overlapping(200, seed=1), overlapping(200, seed=2)
    targets, wanted = (F.one_hot(one, 4).float() for one in (labels, expected))
    found = fast_probe([features(x, targets)], features(other, wanted), classes=CLASSES, rates=[1e-5, 0.03])
    assert found.metric == "map"
    assert found.best.rate == 0.03
    assert found.table[0].mean > 0.6
    scores = found.predictions[0].scores
    assert ((scores >= 0) & (scores <= 1)).all()
    assert not torch.allclose(scores.sum(1), torch.ones(200), atol=1e-3)


def test_samples_without_labels_are_refused():
    x, labels = overlapping(20, seed=1)
    with pytest.raises(MaeError, match=r"no labels \(sample 0\)"):
        fast_probe([features(x, None)], features(x, labels), classes=CLASSES)
    with pytest.raises(MaeError, match="no labels"):
        fast_probe([features(x, labels)], features(x, None), classes=CLASSES)
