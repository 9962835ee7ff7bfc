"""How good predictions for labelled samples are. N samples, C classes.

torchmetrics is imported by the functions that need it: it takes seconds, and every command that looks at all components would
spend them.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae_core.runs.results import OfClass, Pair, Wrong

TOP = 5
MAX_WRONG = 24
MAX_PAIRS = 20


@dataclass(frozen=True)
class Predictions:
    """What a classifier said of held-out samples, all tensors on the CPU."""

    names: Sequence[str]
    """What a person would call each sample, such as the path of its file."""
    targets: Tensor
    """(N,) int64; where a sample may have several labels, (N, C) of 0 and 1."""
    scores: Tensor
    """(N, C), the higher the more likely; probabilities, where the classifier has any, since the report shows them."""


@dataclass(frozen=True)
class Judged:
    """What follows from predictions."""

    metrics: Mapping[str, float]
    of_classes: Sequence[OfClass]
    confusion: list[list[int]] | None
    confused: Sequence[Pair]
    """The most frequent first."""
    wrong: Sequence[tuple[int, Wrong]]
    """With the sample's number, the most certain first."""


def judge(predictions: Predictions, classes: Sequence[str]) -> Judged:
    """Accuracy for samples with one label each, mean average precision for samples with several."""
    assert predictions.scores.shape == (len(predictions.names), len(classes))
    assert len(predictions.targets) == len(predictions.names) > 0
    if predictions.targets.dim() == 2:
        return _judge_several(predictions, classes)
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

    targets, scores, num_classes = predictions.targets.long(), predictions.scores.float(), len(classes)
    confusion = multiclass_confusion_matrix(scores, targets, num_classes=num_classes)
    metrics = {"accuracy": int(confusion.diagonal().sum()) / len(targets)}
    if num_classes > TOP:
        top5 = multiclass_accuracy(scores, targets, num_classes=num_classes, top_k=TOP, average="micro")
        metrics["top5"] = float(top5)
    return Judged(
        metrics,
        [_of_class(name, row, number) for number, (name, row) in enumerate(zip(classes, confusion, strict=True))],
        confusion.tolist(),
        _confused(confusion, classes),
        _wrong(predictions, scores.argmax(dim=1) != targets, classes),
    )


def _of_class(name: str, row: Tensor, number: int) -> OfClass:
    """From the class's row of the confusion matrix."""
    total = int(row.sum())
    return OfClass(name, total, int(row[number]) / total if total else None)


def _confused(confusion: Tensor, classes: Sequence[str]) -> list[Pair]:
    errors = confusion.clone().fill_diagonal_(0)
    cells = [(int(row), int(column)) for row, column in errors.nonzero()]
    pairs = [Pair(classes[true], classes[taken], int(errors[true, taken])) for true, taken in cells]
    return sorted(pairs, key=lambda pair: -pair.count)[:MAX_PAIRS]


def _wrong(predictions: Predictions, is_wrong: Tensor, classes: Sequence[str]) -> list[tuple[int, Wrong]]:
    highest, predicted = predictions.scores.float().max(dim=1)
    order = torch.argsort(highest, descending=True, stable=True)

    def describe(i: int) -> Wrong:
        labels = _labels(predictions.targets[i], classes)
        return Wrong(predictions.names[i], labels, classes[int(predicted[i])], float(highest[i]))

    return [(int(i), describe(int(i))) for i in order[is_wrong[order]][:MAX_WRONG]]


def _labels(target: Tensor, classes: Sequence[str]) -> list[str]:
    numbers = target.nonzero().flatten().tolist() if target.dim() else [int(target)]
    return [classes[number] for number in numbers]


def _judge_several(predictions: Predictions, classes: Sequence[str]) -> Judged:
    """The mean is over the classes that any sample has. Wrong are samples without the label that scored highest."""
    from torchmetrics.functional.classification import multilabel_average_precision

    targets, scores = predictions.targets.long(), predictions.scores.float()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No positive samples found")
        precisions = multilabel_average_precision(scores, targets, num_labels=len(classes), average="none")
    assert isinstance(precisions, Tensor)
    counts = targets.sum(dim=0)
    of_classes = [
        OfClass(name, int(count), float(precision) if count else None)
        for name, count, precision in zip(classes, counts, precisions, strict=True)
    ]
    best = targets.gather(1, scores.argmax(dim=1, keepdim=True)).squeeze(1)
    metrics = {"map": float(precisions[counts > 0].mean()), "accuracy": float(best.float().mean())}
    return Judged(metrics, of_classes, None, [], _wrong(predictions, best == 0, classes))
