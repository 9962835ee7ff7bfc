"""The masked autoencoder: five steps, of which only the first and the last know the modality."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mae_core.interfaces import (
    Decoder,
    JointMasker,
    Latent,
    Mask,
    Masker,
    MaskSets,
    Positions,
    Predicted,
    Sample,
    Seen,
    Target,
    Term,
    Tokenizer,
    each_mask,
    gather_patches,
)
from mae_core.masking.sampling import Drawn, Undrawn, draw
from mae_core.model.backbone import Backbone, Batch, nothing_hidden
from mae_core.model.output import Output, Weights, join
from mae_core.model.teachers import Teachers
from mae_registry import MaeError

Predict = Literal["masked", "all"]


class Pretext(nn.Module):
    """What one modality adds to the backbone for pre-training."""

    def __init__(self, masker: Masker, decoder: Decoder, target: Target) -> None:
        super().__init__()
        self.masker = masker
        self.decoder = decoder
        self.target = target


@dataclass(frozen=True)
class Parts:
    """Everything that one modality brings to the model."""

    tokenizer: Tokenizer
    positions: Positions
    masker: Masker
    decoder: Decoder
    target: Target


class MaskedAutoencoder(nn.Module):
    """tokenizer -> masker -> encoder of the visible -> decoder -> target (He et al. 2022, Figure 1).

    Several modalities share one backbone. `joint_masker` masks paired samples of all of them together; `terms` are further
    losses, by name.
    """

    def __init__(
        self,
        backbone: Backbone,
        modalities: Mapping[str, Pretext],
        *,
        joint_masker: JointMasker | None = None,
        terms: Mapping[str, Term] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.modalities = nn.ModuleDict(modalities)
        self.joint_masker = joint_masker
        self.terms = nn.ModuleDict(terms or {})
        self.teachers = Teachers(backbone, {entry: pretext.target.momentum for entry, pretext in modalities.items()})
        self._layers = sorted({layer for pretext in modalities.values() for layer in pretext.decoder.layers})

    def forward(
        self,
        samples: Mapping[str, Tensor | Sample],
        *,
        masks: Mapping[str, Drawn] | None = None,
        generator: torch.Generator | None = None,
        weights: Weights | None = None,
        predict: Predict = "masked",
    ) -> Output:
        """Normalised samples (B, *sample_shape) by modality -> loss, predictions and masks.

        Masks are drawn with `generator` (on the CPU) unless given. Samples of several modalities belong together, row by row.
        With the `weights` of a larger batch, from `weigh`, the losses of its micro-batches add up to its own.
        """
        _require_known(predict)
        batch = self.backbone.patchify(samples)
        drawn = masks or self.draw_masks(batch.samples, _batch_size(batch), generator=generator)
        settled = self._settle(batch, drawn)
        weights = self.weigh(settled) if weights is None else weights
        truths = self._prepare(batch)
        outputs: list[Output] = []
        for context in _contexts(settled, batch):
            latent = self.backbone.encode_batch(batch, context, layers=self._layers)
            for query in _queries(context):
                predictions = self._predict(batch, latent, query, truths, everything=predict == "all")
                outputs.append(self._lose(predictions, weights, part=len(outputs)))
        return join(outputs)

    def draw_masks(
        self, entries: Iterable[str], batch_size: int, *, generator: torch.Generator | None = None, progress: float = 1.0
    ) -> dict[str, Drawn]:
        """Masks on the CPU for these modalities, in their order, at a share of training. Default: torch's global generator.

        A masker that depends on content gives what `settle_masks` draws its masks from.
        """
        generator = torch.default_generator if generator is None else generator
        parts = {entry: self.parts(entry) for entry in entries}
        if self.joint_masker is not None and len(parts) > 1:
            grids = {entry: part.tokenizer.grid for entry, part in parts.items()}
            return dict(self.joint_masker(grids, batch_size, generator=generator))
        return {
            entry: draw(part.masker.at(progress), part.tokenizer.grid, batch_size, generator=generator)
            for entry, part in parts.items()
        }

    def settle_masks(self, samples: Mapping[str, Tensor | Sample], masks: Mapping[str, Drawn]) -> dict[str, MaskSets]:
        """The masks themselves, also where they depend on what is in the samples."""
        return self._settle(self.backbone.patchify(samples), masks)

    def weigh(self, masks: Mapping[str, MaskSets]) -> Weights:
        """What the loss of these masks is divided by: sums of weights, which add up over micro-batches and ranks."""
        weights = {}
        for entry, sets in masks.items():
            target = self.parts(entry).target
            counts = [_counts(mask, everything=target.everything) for each in each_mask(sets) for mask in each.each_query()]
            weights[entry] = torch.stack([target.weight(count).detach().sum(dtype=torch.float64) for count in counts])
        num_rows = [len(mask.hidden) for mask in each_mask(next(iter(masks.values()))) for _ in mask.queries]
        for name, term in self._terms().items():
            weights[f"terms.{name}"] = torch.tensor([term.weight(rows) for rows in num_rows], dtype=torch.float64)
        return weights

    def after_step(self, step: int, num_steps: int) -> None:
        """Move the teachers. Called once after each optimizer step that was taken; the run's first step is 0."""
        self.teachers.follow(self.backbone, step=step, num_steps=num_steps)

    def parts(self, entry: str) -> Parts:
        """One modality's parts. Raises MaeError on an unknown name."""
        own, pretext = self.backbone.input(entry), self.modalities[entry]
        assert isinstance(pretext, Pretext)
        return Parts(own.tokenizer, own.positions, pretext.masker, pretext.decoder, pretext.target)

    def _terms(self) -> dict[str, Term]:
        return {name: term for name, term in self.terms.items() if isinstance(term, Term)}

    def _settle(self, batch: Batch, drawn: Mapping[str, Drawn]) -> dict[str, MaskSets]:
        settled = {}
        for entry in batch.samples:
            if entry not in drawn:
                raise MaeError(f"there are samples of {entry!r} but no masks for them; the masks are of {', '.join(drawn)}")
            masks = drawn[entry]
            settled[entry] = self._guided(batch, entry, masks) if isinstance(masks, Undrawn) else masks
        return settled

    def _guided(self, batch: Batch, entry: str, undrawn: Undrawn) -> MaskSets:
        """Masks of a masker that depends on content. Only what guides it is without gradients: it may be trained itself."""
        latent = None
        if undrawn.masker.needs == "backbone":
            own = Batch({entry: batch.samples[entry]}, {entry: batch.patches[entry]})
            with torch.no_grad():
                latent = self.backbone.encode_batch(own, nothing_hidden(own)).of(entry)
        return undrawn.draw(self.parts(entry).tokenizer.grid, batch.patches[entry], latent=latent)

    @torch.no_grad()
    def _prepare(self, batch: Batch) -> dict[str, Tensor]:
        """What is to be predicted at each patch, (B, N, ...) by modality: once for all contexts and queries."""
        truths = {}
        for entry, sample in batch.samples.items():
            target = self.parts(entry).target
            seen = Seen(entry, sample.x, batch.patches[entry], sample.extras, self.teachers.of(entry))
            truths[entry] = target.prepare(seen)
        return truths

    def _predict(
        self, batch: Batch, latent: Latent, masks: Mapping[str, Mask], truths: Mapping[str, Tensor], *, everything: bool
    ) -> dict[str, "_Prediction"]:
        """One query of each modality: decode, and compare with the target."""
        predictions = {}
        extras = batch.extras(next(iter(masks.values())).repeats)  # all modalities have equally many contexts
        for entry, mask in masks.items():
            parts, truth = self.parts(entry), truths[entry]
            raster = everything or parts.target.everything
            pred = parts.decoder(latent, mask.ids_predict, extras=extras, everything=raster)
            asked = gather_patches(pred, mask.ids_predict) if raster else pred
            compared = pred if parts.target.everything else asked
            expected = _all_rows(truth, mask) if parts.target.everything else gather_patches(truth, mask.ids_predict)
            predicted = Predicted(mask, latent, compared, truth, parts.target.error(compared, expected))
            with torch.no_grad():
                metrics = parts.target.metrics(predicted)
            predictions[entry] = _Prediction(predicted, pred if everything else asked, dict(metrics))
        return predictions

    def _lose(self, predictions: Mapping[str, "_Prediction"], weights: Weights, *, part: int) -> Output:
        """The loss of one query: what it counts of the errors, over the weights of the whole effective batch."""
        losses: dict[str, Tensor] = {}
        for entry, prediction in predictions.items():
            predicted, target = prediction.predicted, self.parts(entry).target
            weight = target.weight(_counts(predicted.mask, everything=target.everything))
            # an error may be NaN where nothing was predicted, with weight 0: 0 * NaN is not 0
            counted = torch.where(weight != 0, weight * predicted.error, 0)
            losses[entry] = _divide(counted.sum(), weights[entry][part])
        for name, term in self._terms().items():
            error = term.error({entry: prediction.predicted for entry, prediction in predictions.items()})
            losses[f"terms.{name}"] = _divide(error.sum(), weights[f"terms.{name}"][part])
        metrics = {
            name if len(predictions) == 1 else f"{entry}/{name}": value
            for entry, prediction in predictions.items()
            for name, value in prediction.metrics.items()
        }
        pred = {entry: prediction.shown for entry, prediction in predictions.items()}
        masks = {entry: prediction.predicted.mask for entry, prediction in predictions.items()}
        return Output(torch.stack(list(losses.values())).sum(), losses, pred, masks, metrics=metrics)


@dataclass(frozen=True)
class _Prediction:
    """One query of one modality."""

    predicted: Predicted
    shown: Tensor
    """What the output has as `pred`."""
    metrics: dict[str, Tensor]


def _contexts(masks: Mapping[str, MaskSets], batch: Batch) -> list[dict[str, Mask]]:
    """Masks by modality on the samples' device, one context after the other. Raises MaeError if they do not fit the samples."""
    sets = {entry: each_mask(given) for entry, given in masks.items()}
    for entry, contexts in sets.items():
        expected = batch.patches[entry].shape[:2]
        for mask in contexts:
            if mask.hidden.shape != (expected[0] * mask.repeats, expected[1]):
                raise MaeError(
                    f"the mask of {entry!r} is for {tuple(mask.hidden.shape)} (samples, patches); the samples give "
                    f"{(expected[0] * mask.repeats, expected[1])}"
                )
    counts = {entry: len(contexts) for entry, contexts in sets.items()}
    if len(set(counts.values())) > 1:
        raise MaeError(f"modalities of one sample need equally many contexts; their masks have {counts}")
    devices = {entry: patches.device for entry, patches in batch.patches.items()}
    return [
        {entry: mask.to(devices[entry], non_blocking=True) for entry, mask in zip(sets, context, strict=True)}
        for context in zip(*sets.values(), strict=True)
    ]


def _queries(context: Mapping[str, Mask]) -> Iterable[dict[str, Mask]]:
    """One query of each modality after the other. Raises MaeError where modalities have unequal numbers of them."""
    counts = {entry: len(mask.queries) for entry, mask in context.items()}
    if len(set(counts.values())) > 1:
        raise MaeError(f"modalities of one sample need equally many queries; their masks have {counts}")
    each = zip(*(mask.each_query() for mask in context.values()), strict=True)
    return (dict(zip(context, masks, strict=True)) for masks in each)


def _counts(mask: Mask, *, everything: bool) -> Tensor:
    """How much each prediction counts: (rows, M), or of all patches (rows, N)."""
    (query,) = mask.queries
    if not everything:
        return query.counts
    return torch.zeros_like(mask.hidden, dtype=query.counts.dtype).scatter(1, query.ids, query.counts)


def _all_rows(truth: Tensor, mask: Mask) -> Tensor:
    return truth if mask.repeats == 1 else truth.repeat_interleave(mask.repeats, dim=0)


def _divide(total: Tensor, weight: Tensor) -> Tensor:
    """A sum over the weight of what counts; 0, with gradients of 0, where nothing counts."""
    return total / torch.where(weight > 0, weight, 1).to(total.dtype)


def _batch_size(batch: Batch) -> int:
    return len(next(iter(batch.patches.values())))


def _require_known(predict: str) -> None:
    if predict not in ("masked", "all"):
        raise MaeError(f'predict must be "masked", for what the masks ask for, or "all"; it is {predict!r}')
