"""Targets and further terms of a loss. B samples, `rows` samples x contexts, N patches, M predicted ones, T values each."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor, nn

from mae_core.interfaces.encoder import Latent
from mae_core.interfaces.mask import Mask
from mae_core.interfaces.sample import Extras, Sample
from mae_core.interfaces.tokenizer import MakePositions, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Momentum:
    """A teacher: a moving average of the backbone that keeps this share of itself at each optimizer step.

    From `start` to `end` over `num_steps` steps, then `end`; None: over the whole run.
    """

    start: float
    end: float
    num_steps: int | None = None
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, step: int, num_steps: int) -> float:
        """The share kept in the update after step `step` (the first is 0) of a run of `num_steps`."""
        progress = min(1.0, step / max(1, self.num_steps or num_steps))
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.end - self.start) * progress


class Teacher(Protocol):
    """The moving average of the backbone, as a target sees it."""

    def encode(self, samples: Mapping[str, Tensor | Sample], *, layers: "Sequence[int]" = ()) -> Latent:
        """The latent of whole samples, nothing hidden."""
        ...


@dataclass(frozen=True)
class TargetPlace:
    """Where a target stands in a model."""

    entry: str
    tokenizer: Tokenizer
    latent_width: int
    """D of the latents, the backbone's and its teacher's."""
    num_layers: int
    """Layers of the encoder; see `Encoder.num_layers`."""
    make_positions: MakePositions
    """The positions of the modality, at any width."""


@dataclass(frozen=True)
class Seen:
    """What a target may prepare from: whole samples, nothing hidden."""

    entry: str
    x: Tensor
    """(B, *sample_shape), normalised."""
    patches: Tensor
    """(B, N, P)."""
    extras: Extras
    teacher: Teacher | None
    """The teacher, if the target declares a `momentum`."""


class Target(nn.Module, ABC):
    """What is predicted, and how wrong a prediction is. Built as `target(place, **recipe)`.

    The loss of a query is the sum of weight x error over the sum of the weights, both over the whole effective batch.
    """

    dim: int
    """T, values predicted a patch."""
    momentum: Momentum | None = None
    """Declares a teacher, which the core copies, freezes, moves and saves."""
    everything: bool = False
    """Whether errors relate patches to each other, so that `error` needs predictions of all N patches in raster order."""
    has_picture: bool = False
    """Whether predictions can be shown as patches; then the three members at the end are there."""

    @abstractmethod
    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, ...): what to predict at each patch, in raster order. Called once a forward pass, without gradients."""

    @abstractmethod
    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """(rows, M, T) and what `prepare` gave at the same patches, (rows, M, ...) -> the error of each, (rows, M)."""

    def weight(self, counts: Tensor) -> Tensor:
        """(rows, M) bool or float, how much each prediction counts -> its weight: the same, for a mean over the batch."""
        return counts.float()

    def metrics(self, predicted: "Predicted") -> Mapping[str, Tensor]:
        """0-d numbers for the log, e.g. how far predictions have collapsed. Called for each query, without gradients."""
        return {}

    def read_weights(self) -> None:
        """Read the weights of frozen parts from files. Called once, when a model is made fresh, never for a checkpoint."""

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Predictions of all patches (B, N, T) -> patches (B, N, P) for a picture.

        `patches` are the true ones: a target that was normalised by their statistics needs these to be drawn.
        """
        raise NotImplementedError(f"{type(self).__name__} has no picture")

    @property
    def raw_differs(self) -> bool:
        """Whether `to_patches` used the true patches, so that an honest picture must show `raw_patches` too."""
        return False

    def raw_patches(self, pred: Tensor) -> Tensor:
        """Predictions (B, N, T) -> patches (B, N, P) without any knowledge of the true ones."""
        raise NotImplementedError(f"{type(self).__name__} has no picture")


@dataclass(frozen=True)
class Predicted:
    """One query of one modality, as a term and the metrics of a target see it."""

    mask: Mask
    latent: Latent
    """The latent of all modalities together."""
    pred: Tensor
    """(rows, M, T)."""
    truth: Tensor
    """(B, N, ...): what `Target.prepare` gave, of all patches."""
    error: Tensor
    """(rows, M)."""


class Term(nn.Module, ABC):
    """A further loss: of a class token, of the uniformity of latents. Built as `term(places, **recipe)`, by `model.terms`.

    `places` are the targets' places by entry. The term's loss is the sum of its errors over the sum of its weights, both over
    the whole effective batch; a term that compares rows with each other sees those of its micro-batch.
    """

    @abstractmethod
    def error(self, predicted: Mapping[str, Predicted]) -> Tensor:
        """One query of each modality -> (rows,), scaled as it is to be added to the loss. Called for each query."""

    def weight(self, num_rows: int) -> float:
        """The weight of `num_rows` rows: their number, for a mean over the batch's rows."""
        return float(num_rows)
