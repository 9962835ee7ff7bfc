"""Many linear heads over the same features, trained at once: they differ in learning rate and weight decay.

Each step is two products of matrices for all heads together, so that a grid of them takes little longer than one. S samples,
D width, C classes, H heads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BATCH_SIZE = 512
MOMENTUM = 0.9
NUM_EPOCHS = 100
MIN_STEPS, MAX_STEPS = 2_000, 20_000
EPSILON = 1e-6
"""Added to variances, as in the BatchNorm of the published linear probe."""


@dataclass(frozen=True)
class Standardizer:
    """Subtracts the mean and divides by the standard deviation of the training features: BatchNorm without parameters."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Standardizer":
        """Measured on training features (S, D)."""
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        return cls(mean, (variance + EPSILON).sqrt())

    def __call__(self, x: Tensor) -> Tensor:
        """(..., D) -> the same shape."""
        return (x - self.mean) / self.std


@dataclass(frozen=True)
class Heads:
    """Trained heads."""

    weight: Tensor
    """(D, H, C)."""
    bias: Tensor
    """(H, C)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised features (S, D) -> scores (S, H, C), before softmax or sigmoid."""
        return (x @ self.weight.flatten(1)).unflatten(1, self.bias.shape) + self.bias


def num_steps_for(num_samples: int) -> int:
    """A hundred passes over the samples, but neither fewer than 2,000 steps nor more than 20,000."""
    return min(MAX_STEPS, max(MIN_STEPS, NUM_EPOCHS * math.ceil(num_samples / BATCH_SIZE)))


def train_heads(
    x: Tensor,
    targets: Tensor,
    *,
    num_classes: int,
    rates: Sequence[float],
    decays: Sequence[float],
    num_steps: int | None = None,
    seed: int = 0,
) -> Heads:
    """Heads over standardised features x (S, D), one for each pair of a learning rate and a weight decay.

    SGD with momentum from zero weights, the learning rate falling along half a cosine. All heads see the same batches, which
    depend on the seed alone. With one label a sample, `targets` (S,), the classes exclude each other (softmax); where a sample
    may have several, (S, C) of 0 and 1, each class is a question of its own (sigmoid).
    """
    num_steps = num_steps_for(len(x)) if num_steps is None else num_steps
    rate, decay = (torch.tensor(values, device=x.device)[:, None] for values in (rates, decays))
    heads = Heads(x.new_zeros(x.shape[1], len(rates), num_classes), x.new_zeros(len(rates), num_classes))
    velocity = Heads(torch.zeros_like(heads.weight), torch.zeros_like(heads.bias))
    for step, rows in enumerate(_batches(len(x), num_steps, seed)):
        batch, expected = x[rows.to(x.device)], targets[rows.to(x.device)]
        error = _error(heads(batch), expected) / len(batch)
        gradient = (batch.T @ error.flatten(1)).unflatten(1, heads.bias.shape)
        factor = rate * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        velocity.weight.mul_(MOMENTUM).add_(gradient.addcmul_(heads.weight, decay))
        velocity.bias.mul_(MOMENTUM).add_(error.sum(dim=0))
        heads.weight.sub_(factor * velocity.weight)
        heads.bias.sub_(factor * velocity.bias)
    return heads


def _error(scores: Tensor, targets: Tensor) -> Tensor:
    """(B, H, C): the gradient of cross-entropy, or of binary cross-entropy, summed over samples and classes."""
    if targets.ndim == 2:
        return scores.sigmoid() - targets[:, None]
    return scores.softmax(dim=2) - F.one_hot(targets, scores.shape[2])[:, None]


def _batches(num_samples: int, num_steps: int, seed: int) -> Iterator[Tensor]:
    """The rows of each step: the samples in an order of its own in every pass, the last rows that fill no batch left out."""
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH_SIZE, num_samples)
    whole = num_samples // size
    for first in range(0, num_steps, whole):
        order = torch.randperm(num_samples, generator=generator)
        yield from order[: whole * size].split(size)[: num_steps - first]
