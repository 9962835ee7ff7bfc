"""The masked autoencoder: five steps, of which only the first and the last know the modality."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mae_core.interfaces import (
    Decoder,
    Encoder,
    JointMasker,
    Mask,
    Masker,
    Positions,
    Target,
    Tokenizer,
    each_mask,
    gather_patches,
)
from mae_core.masking.sampling import Drawn, Undrawn, draw
from mae_registry import MaeError, did_you_mean


@dataclass
class Output:
    """What `MaskedAutoencoder.forward` returns; mappings are by modality. T: values predicted a patch."""

    loss: Tensor
    """0-d, the sum over modalities."""
    losses: dict[str, Tensor]
    """0-d each."""
    pred: dict[str, Tensor]
    """(B, M, T) in the order of `mask.ids_predict`; with `predict="all"` (B, N, T) in raster order."""
    mask: dict[str, Mask]
    sets: tuple["Output", ...] = ()
    """Where masks are tuples: each index set's output. `pred` and `mask` are the first one's, `loss` and `losses` the means."""


class ModalityParts(nn.Module):
    """What one modality brings to the model."""

    def __init__(self, tokenizer: Tokenizer, positions: Positions, masker: Masker, decoder: Decoder, target: Target) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.positions = positions
        self.masker = masker
        self.decoder = decoder
        self.target = target


class MaskedAutoencoder(nn.Module):
    """tokenizer -> masker -> encoder of the visible -> decoder -> target (He et al. 2022, Figure 1).

    Several modalities share one encoder. `joint_masker` masks paired samples of all of them together.
    """

    def __init__(
        self, encoder: Encoder, modalities: Mapping[str, ModalityParts], joint_masker: JointMasker | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.modalities = nn.ModuleDict(modalities)
        self.joint_masker = joint_masker

    def parts(self, modality: str) -> ModalityParts:
        """One modality's parts. Raises MaeError on an unknown name."""
        if modality not in self.modalities:
            raise MaeError(f"this model has no modality {modality!r}.{did_you_mean(modality, self.modalities)}")
        parts = self.modalities[modality]
        assert isinstance(parts, ModalityParts)
        return parts

    def draw_masks(
        self,
        modalities: Iterable[str],
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
    ) -> dict[str, Drawn]:
        """Masks on the CPU for `modalities`, in their order, at a share of training. Without a generator: torch's global one.

        A masker that needs the samples gives what `forward` draws its masks from.
        """
        generator = torch.default_generator if generator is None else generator
        parts = {name: self.parts(name) for name in modalities}
        if self.joint_masker is not None and len(parts) > 1:
            grids = {name: part.tokenizer.grid for name, part in parts.items()}
            return dict(self.joint_masker(grids, batch_size, generator=generator))
        return {
            name: draw(part.masker.at(progress), part.tokenizer.grid, batch_size, generator=generator)
            for name, part in parts.items()
        }

    def forward(
        self,
        samples: Mapping[str, Tensor],
        *,
        masks: Mapping[str, Drawn] | None = None,
        generator: torch.Generator | None = None,
        predict: Literal["masked", "all"] = "masked",
    ) -> Output:
        """Normalised samples (B, *sample_shape) by modality -> loss, predictions and masks.

        Masks are drawn with `generator` (on the CPU) unless given. Samples of several modalities belong together, row by row.
        """
        masks = masks or self.draw_masks(samples, len(next(iter(samples.values()))), generator=generator)
        patches = {name: self.parts(name).tokenizer.patchify(x) for name, x in samples.items()}
        outputs: list[Output] = []
        latent, previous = None, None
        for chosen in self._index_sets(masks, patches):
            on_device = {name: mask.to(patches[name].device, non_blocking=True) for name, mask in chosen.items()}
            if latent is None or previous is None or not all(chosen[name].same_context(previous[name]) for name in chosen):
                latent, previous = self._encode(patches, on_device), chosen
            outputs.append(self._predict(samples, patches, latent, on_device, predict == "all"))
        return outputs[0] if len(outputs) == 1 else _mean(outputs)

    def _index_sets(self, drawn: Mapping[str, Drawn], patches: Mapping[str, Tensor]) -> list[dict[str, Mask]]:
        """Masks by modality, one index set after the other. Raises MaeError if they do not fit the samples, or each other."""
        sets: dict[str, tuple[Mask, ...]] = {}
        for name, x in patches.items():
            masks = drawn[name]
            sets[name] = each_mask(masks.draw(self.parts(name).tokenizer.grid, x) if isinstance(masks, Undrawn) else masks)
            for mask in sets[name]:
                if mask.hidden.shape != x.shape[:2]:
                    raise MaeError(
                        f"the mask of {name!r} is for {tuple(mask.hidden.shape)} (samples, patches); the samples give "
                        f"{tuple(x.shape[:2])}"
                    )
        counts = {name: len(masks) for name, masks in sets.items()}
        if len(set(counts.values())) > 1:
            raise MaeError(f"modalities of one sample need equally many index sets; their masks have {counts}")
        return [dict(zip(sets, masks, strict=True)) for masks in zip(*sets.values(), strict=True)]

    def _predict(
        self,
        samples: Mapping[str, Tensor],
        patches: Mapping[str, Tensor],
        latent: "_Latent",
        masks: dict[str, Mask],
        predict_all: bool,
    ) -> Output:
        decoded = {name: self._decode(name, latent, masks[name], predict_all) for name in samples}
        queried = {name: self._queried(name, masks[name], x) if predict_all else x for name, x in decoded.items()}
        losses = {name: self._loss(name, x, patches[name], masks[name], queried[name]) for name, x in samples.items()}
        pred = {name: self._raster_order(name, masks[name], x) if predict_all else x for name, x in decoded.items()}
        return Output(torch.stack(list(losses.values())).sum(), losses, pred, masks)

    def encode(self, samples: Mapping[str, Tensor], *, masks: Mapping[str, Mask] | None = None) -> dict[str, Tensor]:
        """Latents by modality, (B, prefix + K, D) of the kept patches; of all N without masks."""
        patches = {name: self.parts(name).tokenizer.patchify(x) for name, x in samples.items()}
        if masks is None:
            masks = {name: Mask.from_hidden(torch.zeros_like(x[..., 0], dtype=torch.bool)) for name, x in patches.items()}
        latent = self._encode(patches, masks)
        return {name: latent.own(name) for name in samples}

    def _encode(self, patches: Mapping[str, Tensor], masks: Mapping[str, Mask]) -> "_Latent":
        """All modalities' tokens through the encoder at once."""
        if self.encoder.mask_token is None and any(mask.ragged for mask in masks.values()):
            tokens, ids, counts = self._jointly_visible(patches, masks), self._joint_ids(masks), None
        else:
            kept = {name: self._tokens(name, patches[name], masks[name]) for name in patches}
            tokens, counts = torch.cat(list(kept.values()), dim=1), {name: x.shape[1] for name, x in kept.items()}
            ids = torch.cat([self._context_ids(mask) + self._offset(name) for name, mask in masks.items()], dim=1)
        positions = [self.parts(name).positions.class_position() for name in patches]
        present = [position for position in positions if position is not None]
        x = self.encoder(tokens, sum(present) if present else None)
        return _Latent(x, ids, self.encoder.num_prefix_tokens, counts)

    def _tokens(self, name: str, patches: Tensor, mask: Mask) -> Tensor:
        """Embedded patches with their positions: the kept ones, or all with mask tokens where the encoder takes these."""
        parts = self.parts(name)
        if (mask_token := self.encoder.mask_token) is not None:
            tokens = parts.tokenizer.embed(patches)
            tokens = torch.where(mask.hidden.unsqueeze(-1), mask_token.to(tokens.dtype), tokens)
            return tokens + parts.positions(_all_ids(mask))
        return parts.tokenizer.embed(gather_patches(patches, mask.ids_keep)) + parts.positions(mask.ids_keep)

    def _jointly_visible(self, patches: Mapping[str, Tensor], masks: Mapping[str, Mask]) -> Tensor:
        """(B, K, D) of rows that keep K patches of all modalities together, but not equally many of each."""
        parts = {name: self.parts(name) for name in patches}
        tokens = [parts[name].tokenizer.embed(x) + parts[name].positions(_all_ids(masks[name])) for name, x in patches.items()]
        return gather_patches(torch.cat(tokens, dim=1), _visible_of_all(masks))

    def _joint_ids(self, masks: Mapping[str, Mask]) -> Tensor:
        """(B, K): the visible patches, numbered over all modalities of the model."""
        numbers = [torch.arange(mask.hidden.shape[1], device=mask.hidden.device) + self._offset(n) for n, mask in masks.items()]
        return torch.cat(numbers)[_visible_of_all(masks)]

    def _offset(self, modality: str) -> int:
        """The number of a modality's first patch."""
        earlier = list(self.modalities)[: list(self.modalities).index(modality)]
        return sum(self.parts(name).tokenizer.grid.num_patches for name in earlier)

    def _context_ids(self, mask: Mask) -> Tensor:
        return _all_ids(mask) if self.encoder.mask_token is not None else mask.ids_keep

    def _decode(self, name: str, latent: "_Latent", mask: Mask, predict_all: bool) -> Tensor:
        """(B, M, T), or the predictions of context tokens followed by those of queries."""
        decoder = self.parts(name).decoder
        everything = decoder.attends_to_all
        return decoder(
            latent.x if everything else latent.own(name),
            latent.ids if everything else self._context_ids(mask),
            mask.ids_predict,
            num_prefix_tokens=latent.num_prefix_tokens,
            predict_all=predict_all,
        )

    def _in_raster_order(self, name: str) -> bool:
        """Whether the decoder itself gives predictions of all patches in raster order."""
        return self.encoder.mask_token is not None or self.parts(name).decoder.attends_to_all

    def _queried(self, name: str, mask: Mask, decoded: Tensor) -> Tensor:
        """Of all predictions those of `ids_predict`: (B, M, T)."""
        if self._in_raster_order(name):
            return gather_patches(decoded, mask.ids_predict)
        return decoded[:, mask.num_keep :]

    def _loss(self, name: str, x: Tensor, patches: Tensor, mask: Mask, pred: Tensor) -> Tensor:
        """A prediction (B, M, T) counts where its patch was hidden from the encoder."""
        target = self.parts(name).target
        weight = mask.hidden.gather(1, mask.ids_predict)
        return target.loss(pred, target(x, patches, mask.ids_predict), weight)

    def _raster_order(self, name: str, mask: Mask, decoded: Tensor) -> Tensor:
        """(B, K + M, T) -> (B, N, T); NaN at patches that were neither kept nor predicted, the query's where both."""
        if self._in_raster_order(name):
            return decoded
        raster = decoded.new_full((*mask.hidden.shape, decoded.shape[-1]), torch.nan)
        parts = decoded.split([mask.num_keep, mask.ids_predict.shape[1]], dim=1)
        for ids, part in zip((mask.ids_keep, mask.ids_predict), parts, strict=True):
            raster = raster.scatter(1, ids.unsqueeze(-1).expand_as(part), part)
        return raster


@dataclass
class _Latent:
    """The encoder's output for all modalities together."""

    x: Tensor
    """(B, prefix + K, D)."""
    ids: Tensor
    """(B, K): which patches these are, numbered over all modalities of the model."""
    num_prefix_tokens: int
    counts: dict[str, int] | None
    """Tokens of each modality; None where that differs from row to row."""

    def own(self, modality: str) -> Tensor:
        """(B, prefix + K of this modality, D)."""
        if self.counts is None:
            raise MaeError(
                f"the masks of {modality!r} hide a different number of patches in each sample, which needs an encoder over all "
                "tokens (model.encoder.mask_tokens=true), a decoder that attends to all modalities, or exact counts"
            )
        prefix, *parts = self.x.split([self.num_prefix_tokens, *self.counts.values()], dim=1)
        return torch.cat([prefix, parts[list(self.counts).index(modality)]], dim=1)


def _mean(outputs: list[Output]) -> Output:
    """Of the index sets of the same samples: each counts alike (V-JEPA, Bardes et al. 2024)."""
    losses = {name: torch.stack([out.losses[name] for out in outputs]).mean() for name in outputs[0].losses}
    first = outputs[0]
    return Output(torch.stack(list(losses.values())).sum(), losses, first.pred, first.mask, tuple(outputs))


def _visible_of_all(masks: Mapping[str, Mask]) -> Tensor:
    """(B, K) into the given modalities' patches, one after the other. Raises MaeError if rows keep unequal numbers in all."""
    hidden = torch.cat([mask.hidden for mask in masks.values()], dim=1)
    if not bool((hidden.sum(1) == hidden[0].sum()).all()):
        raise MaeError(
            f"the masker of {', '.join(map(repr, masks))} hides a different number of patches in each sample, which needs an "
            "encoder over all tokens: set model.encoder.mask_tokens=true, or make the masker's count exact"
        )
    return Mask.from_hidden(hidden).ids_keep


def _all_ids(mask: Mask) -> Tensor:
    """(B, N): every patch in raster order."""
    return torch.arange(mask.hidden.shape[1], device=mask.hidden.device).expand(mask.hidden.shape)
