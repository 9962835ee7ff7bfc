"""What the model returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mae_core.interfaces import Mask

Weights = Mapping[str, Tensor]
"""Sums of the weights of what counts in the loss, by part of the loss (a modality, or `terms.NAME`): one number a query.

They come from masks alone, so that they are known before the forward passes, and those of micro-batches add up.
"""


@dataclass  # not frozen: Lightning Fabric copies a model's outputs field by field
class Output:
    """What `MaskedAutoencoder.forward` returns; mappings are by modality. T: values predicted a patch."""

    loss: Tensor
    """0-d, the sum over modalities and terms."""
    losses: dict[str, Tensor]
    """0-d each, by modality, and by `terms.NAME` for further terms."""
    pred: dict[str, Tensor]
    """(rows, M, T) in the order of `mask.ids_predict`; with `predict="all"` (rows, N, T) in raster order."""
    mask: dict[str, Mask]
    sets: tuple["Output", ...] = ()
    """If there are several contexts or queries, the output of each. `pred` and `mask` are then those of the first."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """0-d each: what targets want in the log."""


def join(outputs: list[Output]) -> Output:
    """The outputs of several queries of the same samples, each of which counts alike (V-JEPA, Bardes et al. 2024)."""
    first = outputs[0]
    losses = {name: torch.stack([out.losses[name] for out in outputs]).mean() for name in first.losses}
    metrics = {name: torch.stack([out.metrics[name] for out in outputs]).mean() for name in first.metrics}
    loss = torch.stack(list(losses.values())).sum()
    return Output(loss, losses, first.pred, first.mask, tuple(outputs) if len(outputs) > 1 else (), metrics)
