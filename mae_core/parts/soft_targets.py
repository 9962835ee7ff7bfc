"""Labels as a classifier's loss takes them: one number a class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_targets(labels: Tensor, num_classes: int, *, smoothing: float = 0.0, several: bool = False) -> Tensor:
    """(rows,) int64, or the classes' shares (rows, classes) from 0 to 1 -> (rows, classes) float32.

    Of samples that have one label each, also of mixtures of them, `smoothing` is spread evenly over all classes, the sample's
    own included. Where samples may have `several` labels, each class is a question of its own and moves by it towards a half.
    """
    off = 0.5 * smoothing if several else smoothing / num_classes
    if labels.ndim == 2:
        return labels.float() * (1 - smoothing) + off
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    return targets.scatter_(1, labels.long().unsqueeze(1), 1 - smoothing + off)


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Logits and targets, (rows, classes) each -> (rows,)."""
    return -(targets * F.log_softmax(scores.float(), dim=1)).sum(dim=1)


def binary_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Logits and targets, (rows, classes) each -> (rows,): the mean over the classes, each a question of its own."""
    return F.binary_cross_entropy_with_logits(scores.float(), targets, reduction="none").mean(dim=1)
