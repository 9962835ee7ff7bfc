"""The masked autoencoder: five steps, of which only the first and the last know the modality."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mae_core.gather import gather_patches
from mae_core.interfaces import Decoder, Encoder, Mask, Masker, Positions, Target, Tokenizer
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
    """tokenizer -> masker -> encoder of the visible -> decoder -> target (He et al. 2022, Figure 1)."""

    def __init__(self, encoder: Encoder, modalities: Mapping[str, ModalityParts]) -> None:
        super().__init__()
        self.encoder = encoder
        self.modalities = nn.ModuleDict(modalities)

    def parts(self, modality: str) -> ModalityParts:
        """One modality's parts. Raises MaeError on an unknown name."""
        if modality not in self.modalities:
            raise MaeError(f"this model has no modality {modality!r}.{did_you_mean(modality, self.modalities)}")
        parts = self.modalities[modality]
        assert isinstance(parts, ModalityParts)
        return parts

    def draw_masks(
        self, modalities: Iterable[str], batch_size: int, *, generator: torch.Generator | None = None
    ) -> dict[str, Mask]:
        """Masks on the CPU for `modalities`, in their order. Without a generator: torch's global one."""
        generator = torch.default_generator if generator is None else generator
        parts = {name: self.parts(name) for name in modalities}
        return {name: part.masker(part.tokenizer.grid, batch_size, generator=generator) for name, part in parts.items()}

    def forward(
        self,
        samples: Mapping[str, Tensor],
        *,
        masks: Mapping[str, Mask] | None = None,
        generator: torch.Generator | None = None,
        predict: Literal["masked", "all"] = "masked",
    ) -> Output:
        """Normalised samples (B, *sample_shape) by modality -> loss, predictions and masks.

        Masks are drawn with `generator` (on the CPU) unless given.
        """
        first = next(iter(samples.values()))
        masks = masks or self.draw_masks(samples, len(first), generator=generator)
        masks = {name: masks[name].to(first.device, non_blocking=True) for name in samples}

        patches = {name: self.parts(name).tokenizer.patchify(x) for name, x in samples.items()}
        latents = self._encode(patches, masks)
        predict_all = predict == "all"
        decoded = {name: self._decode(name, latents[name], masks[name], predict_all) for name in samples}
        queried = {name: self._queried(masks[name], x) if predict_all else x for name, x in decoded.items()}
        losses = {name: self._loss(name, x, patches[name], masks[name], queried[name]) for name, x in samples.items()}
        pred = {name: self._raster_order(masks[name], x) if predict_all else x for name, x in decoded.items()}
        return Output(torch.stack(list(losses.values())).sum(), losses, pred, masks)

    def encode(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Latents of all patches, nothing hidden: (B, prefix + N, D) by modality."""
        patches = {name: self.parts(name).tokenizer.patchify(x) for name, x in samples.items()}
        nothing = {n: Mask.from_hidden(torch.zeros(p.shape[:2], dtype=torch.bool, device=p.device)) for n, p in patches.items()}
        return self._encode(patches, nothing)

    def _encode(self, patches: Mapping[str, Tensor], masks: Mapping[str, Mask]) -> dict[str, Tensor]:
        """All modalities' tokens through the encoder at once; each gets the prefix tokens and its own latents back."""
        tokens = {name: self._tokens(name, patches[name], masks[name]) for name in patches}
        class_positions = [p for name in patches if (p := self.parts(name).positions.class_position()) is not None]
        latent = self.encoder(torch.cat(list(tokens.values()), dim=1), sum(class_positions) if class_positions else None)
        num_prefix = self.encoder.num_prefix_tokens
        prefix, *own = latent.split([num_prefix, *(t.shape[1] for t in tokens.values())], dim=1)
        return {name: torch.cat([prefix, x], dim=1) for name, x in zip(tokens, own, strict=True)}

    def _tokens(self, name: str, patches: Tensor, mask: Mask) -> Tensor:
        """Embedded patches with their positions: the kept ones, or all with mask tokens where the encoder takes these."""
        parts = self.parts(name)
        if (mask_token := self.encoder.mask_token) is not None:
            tokens = parts.tokenizer.embed(patches)
            tokens = torch.where(mask.hidden.unsqueeze(-1), mask_token.to(tokens.dtype), tokens)
            return tokens + parts.positions(_all_ids(mask))
        if mask.ragged:
            raise MaeError(
                f"the masker of {name!r} hides a different number of patches in each sample, which needs an encoder over all "
                "tokens: set model.encoder.mask_tokens=true, or make the masker's count exact"
            )
        return parts.tokenizer.embed(gather_patches(patches, mask.ids_keep)) + parts.positions(mask.ids_keep)

    def _decode(self, name: str, latent: Tensor, mask: Mask, predict_all: bool) -> Tensor:
        """(B, M, T), or the predictions of context tokens followed by those of queries."""
        ids_context = _all_ids(mask) if self.encoder.mask_token is not None else mask.ids_keep
        return self.parts(name).decoder(
            latent, ids_context, mask.ids_predict, num_prefix_tokens=self.encoder.num_prefix_tokens, predict_all=predict_all
        )

    def _queried(self, mask: Mask, decoded: Tensor) -> Tensor:
        """Of all predictions those of `ids_predict`: (B, M, T)."""
        if self.encoder.mask_token is not None:
            return gather_patches(decoded, mask.ids_predict)
        return decoded[:, mask.num_keep :]

    def _loss(self, name: str, x: Tensor, patches: Tensor, mask: Mask, pred: Tensor) -> Tensor:
        """A prediction (B, M, T) counts where its patch was hidden from the encoder."""
        target = self.parts(name).target
        weight = mask.hidden.gather(1, mask.ids_predict)
        return target.loss(pred, target(x, patches, mask.ids_predict), weight)

    def _raster_order(self, mask: Mask, decoded: Tensor) -> Tensor:
        """(B, K + M, T) -> (B, N, T); NaN at patches that were neither kept nor predicted, the query's where both."""
        if self.encoder.mask_token is not None:
            return decoded
        raster = decoded.new_full((*mask.hidden.shape, decoded.shape[-1]), torch.nan)
        parts = decoded.split([mask.num_keep, mask.ids_predict.shape[1]], dim=1)
        for ids, part in zip((mask.ids_keep, mask.ids_predict), parts, strict=True):
            raster = raster.scatter(1, ids.unsqueeze(-1).expand_as(part), part)
        return raster


def _all_ids(mask: Mask) -> Tensor:
    """(B, N): every patch in raster order."""
    return torch.arange(mask.hidden.shape[1], device=mask.hidden.device).expand(mask.hidden.shape)
