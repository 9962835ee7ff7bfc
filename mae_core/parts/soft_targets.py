"""Labels as a classifier's loss takes them: one number a class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_targets(labels: Tensor, num_classes: int, *, smoothing: float = 0.0) -> Tensor:
    """(rows,) int64, or (rows, classes) of 0 and 1 -> (rows, classes) float32.

    Of a sample with one label, `smoothing` is spread evenly over all classes, the sample's own included; where samples may have
    several, each class moves by it towards a half.
    """
    if labels.ndim == 2:
        return labels.float() * (1 - smoothing) + 0.5 * smoothing
    off = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    return targets.scatter_(1, labels.long().unsqueeze(1), 1 - smoothing + off)


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Logits and targets, (rows, classes) each -> (rows,)."""
    return -(targets * F.log_softmax(scores.float(), dim=1)).sum(dim=1)


def binary_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Logits and targets, (rows, classes) each -> (rows,): the mean over the classes, each a question of its own."""
    return F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").mean(dim=1)
