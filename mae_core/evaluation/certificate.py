"""What certificates (`mae verify`) share: a model of a file's sizes, and how far its numbers are from the published ones."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mae_core.build import build_model
from mae_core.config import Config, load_config
from mae_core.interfaces import Check, Task
from mae_core.layouts.published import export_state_dict, import_state_dict
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.registry import build_component

if TYPE_CHECKING:
    from mae_core.tasks.classification import Classification

LOSS, PREDICTION, GRADIENT, WEIGHT = 2e-6, 5e-6, 1e-6, 1e-5
"""Tolerances in float32 for an independent implementation: the loss relative, the others absolute."""
HEAD_BIASES = ("head.bias", "head.1.bias")
"""The last bias of a published classifier, fine-tuned and of a linear probe."""


# ---- the model


def heads_that_agree(widths: Sequence[int], error: Callable[..., float]) -> tuple[int, ...]:
    """The numbers of heads of a file that does not state them, one for each of its transformers' widths.

    `error(*heads)` is that of a prediction. The first heads that are within the tolerance are taken, or else the best ones.
    """
    found = {}
    for heads in itertools.product(*([n for n in range(1, width + 1) if width % n == 0] for width in widths)):
        found[heads] = error(*heads)
        if found[heads] <= PREDICTION:
            return heads
    return min(found, key=lambda heads: math.inf if math.isnan(found[heads]) else found[heads])


def published_model(
    recipe: str | Mapping[str, Any], sizes: Mapping[str, Any], weights: Mapping[str, Tensor], *, layout: str
) -> MaskedAutoencoder:
    """The recipe's model, but of other `sizes` (its section `model`), with published weights; in evaluation mode.

    Built as any recipe is, so that a certificate certifies what users get.
    """
    model = build_model(load_config({"extends": recipe, "model": sizes}))
    import_state_dict(model, weights, layout=layout)
    return model.eval()


def published_task(
    recipe: str | Mapping[str, Any], sizes: Mapping[str, Any], weights: Mapping[str, Tensor], *, layout: str
) -> Task[Any]:
    """As `published_model`, but the recipe's task, whose model has the published weights."""
    config = load_config({"extends": recipe, "model": sizes})
    task: Task[Any] = build_component("tasks", config["task"], config)
    task.build_model(fresh=True)
    import_state_dict(task.model, weights, layout=layout)
    return task


def published_classification(config: Config, weights: Mapping[str, Tensor], *, layout: str) -> "Classification":
    """The recipe's task `classify`, whose model has published weights."""
    task = classification(config, num_classes=next(len(bias) for name, bias in weights.items() if name in HEAD_BIASES))
    import_state_dict(task.model, weights, layout=layout)
    return task


def classification(config: Config, *, num_classes: int) -> "Classification":
    """The recipe's task `classify` with a fresh model, for classes that no data name."""
    task: Classification = build_component("tasks", config["task"], config)
    task.classes = tuple(map(str, range(num_classes)))
    task.build_model(fresh=True)
    return task


# ---- errors


def largest_error(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; infinite if the shapes differ, NaN if anything is."""
    if found.shape != expected.shape:
        return math.inf
    return float((found.double() - expected.double()).abs().max())


def largest_error_of(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest difference of tensors with the same names; infinite if the names differ."""
    if found.keys() != expected.keys():
        return math.inf
    return worst(largest_error(found[name], expected[name]) for name in expected)


def worst(errors: Iterable[float]) -> float:
    """The largest; NaN if one is, which Python's `max` would drop."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The relative difference of two numbers."""
    return float((found.double() - expected.double()).abs() / expected.double().abs())


# ---- checks


def check_mask(name: str, hidden: Tensor, expected: Tensor) -> Check:
    """Both (rows, N), True or 1 where a patch is hidden."""
    detail = f"{int((~hidden.bool()).sum(1).max())} of {hidden.shape[1]} patches visible"
    return Check(f"{name}: mask", largest_error(hidden.float(), expected.float()), 0, detail)


def check_prediction(name: str, found: Tensor, expected: Tensor) -> Check:
    """Predictions of any shape, compared absolutely."""
    return Check(name, largest_error(found, expected), PREDICTION, f"{'x'.join(map(str, expected.shape))}, absolute")


def check_loss(name: str, found: Tensor, expected: Tensor) -> Check:
    """0-d losses, compared relatively."""
    return Check(name, relative_error(found, expected), LOSS, f"{float(found):.6f}, relative")


def check_round_trip(name: str, model: MaskedAutoencoder, weights: Mapping[str, Tensor], *, layout: str) -> Check:
    """Export gives back what was imported, to the bit."""
    error = largest_error_of(export_state_dict(model, layout=layout), weights)
    return Check(f"{name}: export of the imported weights", error, 0, f"{len(weights)} tensors")


def check_manifest(
    name: str, manifest: Mapping[str, Any], *, recipe: str, layout: str, trained: bool = True
) -> Iterator[Check]:
    """A published checkpoint's names and shapes into the recipe's model and back, without memory for its values.

    `trained`: compare the number of trained parameters too; not where ours has some that the published one has not. Raises
    MaeError if a tensor is missing, left over, or of another shape.
    """
    with torch.device("meta"):
        model = build_model(load_config(recipe))
    yield from _check_manifest(name, manifest, model, layout=layout, trained=trained)


def check_classifier_manifest(name: str, manifest: Mapping[str, Any], *, recipe: str, layout: str) -> Iterator[Check]:
    """As `check_manifest`, of the recipe's classifier."""
    num_classes = next(shape[0] for key, shape in manifest["state_dict"].items() if key in HEAD_BIASES)
    with torch.device("meta"):
        model = classification(load_config(recipe), num_classes=num_classes).model
    yield from _check_manifest(name, manifest, model, layout=layout, trained=True)


def _check_manifest(name: str, manifest: Mapping[str, Any], model: nn.Module, *, layout: str, trained: bool) -> Iterator[Check]:
    expected = {key: tuple(shape) for key, shape in manifest["state_dict"].items()}
    state = {key: torch.empty(shape, device="meta") for key, shape in expected.items()}
    import_state_dict(model, state, layout=layout)
    exported = {key: tuple(tensor.shape) for key, tensor in export_state_dict(model, layout=layout).items()}
    differing = exported.items() ^ expected.items()
    yield Check(f"{name} checkpoint: names and shapes", len(differing), 0, f"{len(exported)} tensors, both ways")
    total = sum(math.prod(shape) for shape in exported.values())
    yield Check(f"{name} checkpoint: parameters", abs(total - manifest["num_parameters"]), 0, f"{total:,}")
    if trained:
        number = sum(parameter.numel() for parameter in model.parameters())
        yield Check(f"{name} checkpoint: trained parameters", abs(number - manifest["num_trainable"]), 0, f"{number:,}")
