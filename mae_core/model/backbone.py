"""The backbone: what is kept after pre-training. Tokenizers, positions and the encoder of what is visible."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mae_core.interfaces import (
    Encoder,
    Extras,
    Latent,
    Mask,
    Positions,
    Sample,
    Tokenizer,
    as_sample,
    gather_patches,
    repeat_extras,
)
from mae_core.model.maps import feature_map
from mae_core.parts.positions import Resized
from mae_registry import MaeError, did_you_mean


class Input(nn.Module):
    """How one modality comes into the encoder."""

    def __init__(self, tokenizer: Tokenizer, positions: Positions) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.positions = positions

    def for_shape(self, sample_shape: tuple[int, ...] | None) -> "Input":
        """This input, whose weights it shares, for samples of another shape; itself for None."""
        if sample_shape is None:
            return self
        tokenizer = self.tokenizer.for_shape(sample_shape)
        if tokenizer.grid == self.tokenizer.grid:
            return Input(tokenizer, self.positions)
        return Input(tokenizer, Resized(self.positions, self.tokenizer.grid, tokenizer.grid))


@dataclass(frozen=True)
class Batch:
    """Samples by modality, and their patches (B, N, P)."""

    samples: Mapping[str, Sample]
    patches: Mapping[str, Tensor]

    def extras(self, repeats: int = 1) -> dict[str, Extras]:
        """Every modality's extras, one for each context of each sample."""
        return {entry: repeat_extras(sample.extras, repeats) for entry, sample in self.samples.items()}


class Backbone(nn.Module):
    """Several modalities share one encoder.

    `inputs` are by the modalities' names in the recipe; `types` says which installed modality each is.
    """

    def __init__(self, encoder: Encoder, inputs: Mapping[str, Input], *, types: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.inputs = nn.ModuleDict(inputs)
        self.types = dict(types or {entry: entry for entry in inputs})
        self.spans: dict[str, tuple[int, int]] = {}
        first = 0
        for entry in inputs:
            number = inputs[entry].tokenizer.grid.num_patches
            self.spans[entry] = (first, number)
            first += number

    def input(self, entry: str) -> Input:
        """One modality's tokenizer and positions. Raises MaeError on an unknown name."""
        if entry not in self.inputs:
            raise MaeError(f"this model has no modality {entry!r}.{did_you_mean(entry, self.inputs)}")
        found = self.inputs[entry]
        assert isinstance(found, Input)
        return found

    def normalize(self, samples: Mapping[str, Sample]) -> dict[str, Sample]:
        """Samples as they were loaded, as the tokenizer of each modality normalises them."""
        return {
            entry: Sample(self.input(entry).tokenizer.normalize(sample.x), sample.extras) for entry, sample in samples.items()
        }

    def encode(
        self,
        samples: Mapping[str, Tensor | Sample],
        *,
        masks: Mapping[str, Mask] | None = None,
        layers: Sequence[int] = (),
    ) -> Latent:
        """Normalised samples (B, *sample_shape) by modality -> the latent of what masks leave visible; of all without masks.

        `layers`: the encoder's layers whose outputs are wanted too; see `Encoder.num_layers`.
        """
        batch = self.patchify(samples)
        return self.encode_batch(batch, masks or nothing_hidden(batch), layers=layers)

    @property
    def quarters(self) -> list[int]:
        """The layers after each quarter of the encoder, which maps of features are made of (He et al. 2022, A.3); or all stages
        of one that has up to four."""
        parts = min(4, self.encoder.num_layers)
        return [self.encoder.num_layers * part // parts for part in range(1, parts + 1)]

    def features(
        self, samples: Mapping[str, Tensor | Sample], *, entry: str | None = None, layers: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Whole normalised samples by modality -> a map of features of each of the layers, (B, D, *sizes of its grid).

        Samples may have other sizes than the model was trained with, as `for_shapes` says. Maps of a plain encoder all have the
        grid of patches; those of a hierarchical one have the grids and widths of its stages. `FeaturePyramid` makes maps of
        chosen strides of them.

            maps = backbone.features({"image": x})      # of a ViT-B/16 four maps (B, 768, H / 16, W / 16)

        Args:
            entry: whose maps, where there are samples of several modalities.
            layers: of the encoder, see `Encoder.num_layers`; without them `quarters`.

        Raises MaeError for samples that do not fit.
        """
        given, layers = self._given(samples), self.quarters if layers is None else layers
        entry = self._one_of(list(given), entry)
        sized = self.for_shapes({name: tuple(sample.x.shape[1:]) for name, sample in given.items()})
        latent = sized.encode(given, layers=layers).of(entry)
        grid = sized.input(entry).tokenizer.grid
        return [feature_map(latent, grid, layer=layer) for layer in layers]

    def for_shapes(self, sample_shapes: Mapping[str, tuple[int, ...]]) -> "Backbone":
        """This backbone, whose weights it shares, for samples of other shapes; itself, where they are its own.

        Positions are interpolated bicubically. Raises MaeError for shapes that patches do not divide, and for encoders that
        embed patches by themselves, whose size is that of their recipe.
        """
        tokenizers = {name: self.input(name).tokenizer for name in self.inputs}
        wanted = {name: shape for name, shape in sample_shapes.items() if shape != tokenizers[name].sample_shape}
        if not wanted:
            return self
        if self.encoder.token_width is None:
            name, shape = next(iter(wanted.items()))
            raise MaeError(
                f"the encoder takes samples of {name!r} of shape {tokenizers[name].sample_shape} only, and got {shape}; build "
                "the model from a recipe of that size"
            )
        inputs = {name: self.input(name).for_shape(wanted.get(name)) for name in self.inputs}
        sized = Backbone(self.encoder, inputs, types=self.types)
        sized.training = self.training  # the modules that they share keep their own modes
        return sized

    def patchify(self, samples: Mapping[str, Tensor | Sample]) -> Batch:
        """The first step. Raises MaeError for what is not a batch of normalised samples by modality."""
        given = self._given(samples)
        return Batch(given, {entry: self.input(entry).tokenizer.patchify(sample.x) for entry, sample in given.items()})

    def _given(self, samples: Mapping[str, Tensor | Sample]) -> dict[str, Sample]:
        """By modality. Raises MaeError for what are no normalised samples of the model's modalities."""
        if not isinstance(samples, Mapping) or not samples:
            known = ", ".join(self.inputs)
            raise MaeError(f'samples are given by modality, such as {{"{next(iter(self.inputs))}": x}}; this model has {known}')
        given = {entry: as_sample(sample) for entry, sample in samples.items()}
        for entry, sample in given.items():
            self._require_normalized(entry, sample.x)
        return given

    def _one_of(self, given: Sequence[str], entry: str | None) -> str:
        """The modality that is meant. Raises MaeError where that is not clear."""
        if entry is None and len(given) > 1:
            raise MaeError(f"there are samples of {', '.join(given)}; say whose maps are wanted, as entry={given[0]!r}")
        entry = given[0] if entry is None else entry
        if entry not in given:
            raise MaeError(f"maps of {entry!r} need samples of it; there are samples of {', '.join(given)}")
        return entry

    def encode_batch(self, batch: Batch, masks: Mapping[str, Mask], *, layers: Sequence[int] = ()) -> Latent:
        """Like `encode`, but for samples that are patches already, and with `masks` that are on their device."""
        for layer in layers:
            if not 0 <= layer <= self.encoder.num_layers:
                raise MaeError(f"the encoder has no layer {layer}; its layers are 0 (its input) to {self.encoder.num_layers}")
        return self.encoder(VisiblePatches(self, batch, masks), layers=layers)

    def _require_normalized(self, entry: str, x: object) -> None:
        tokenizer = self.input(entry).tokenizer
        is_double = isinstance(x, Tensor) and x.dtype == torch.float64 != next(self.parameters()).dtype
        if not isinstance(x, Tensor) or x.dtype == torch.uint8 or is_double:
            found = f"a tensor of {str(x.dtype).removeprefix('torch.')}" if isinstance(x, Tensor) else type(x).__name__
            raise MaeError(
                f"the model takes normalised samples of {entry!r} as tensors of its own type and of shape (batch, "
                f"{', '.join(map(str, tokenizer.sample_shape))}), and got {found}; make them with "
                f"model.parts({entry!r}).tokenizer.normalize(x)"
            )


class VisiblePatches:
    """What an encoder may look at: `mae_core.interfaces.Visible` of a batch and its masks, computed when it is asked for."""

    def __init__(self, backbone: Backbone, batch: Batch, masks: Mapping[str, Mask]) -> None:
        self._backbone = backbone
        self._batch = batch
        self._masks = masks
        repeats = {mask.repeats for mask in masks.values()}
        if len(repeats) > 1:
            raise MaeError(f"the masks of {', '.join(masks)} have {', '.join(map(str, repeats))} contexts of each sample")
        self._extras = batch.extras(repeats.pop())
        self._is_ragged = any(mask.ragged for mask in masks.values())

    @property
    def ids(self) -> Tensor:
        """(rows, K): the visible patches, numbered over all modalities of the model."""
        if self._is_ragged:
            return self.every_id.gather(1, self._jointly_visible)
        return torch.cat([mask.ids_keep + self._first(entry) for entry, mask in self._masks.items()], dim=1)

    @property
    def every_id(self) -> Tensor:
        """(rows, N of all modalities), in raster order."""
        return torch.cat([_all_ids(mask) + self._first(entry) for entry, mask in self._masks.items()], dim=1)

    @property
    def hidden(self) -> Tensor:
        """(rows, N of all modalities) bool."""
        return torch.cat([mask.hidden for mask in self._masks.values()], dim=1)

    def tokens(self) -> Tensor:
        """(rows, K, D), in the order of `ids`."""
        if self._is_ragged:  # which of all modalities' patches a row keeps is known only when they lie side by side
            every = torch.cat([self._embed(entry, _all_ids(mask)) for entry, mask in self._masks.items()], dim=1)
            return gather_patches(every, self._jointly_visible)
        return torch.cat([self._embed(entry, mask.ids_keep) for entry, mask in self._masks.items()], dim=1)

    def all_tokens(self, mask_token: Tensor) -> Tensor:
        """(rows, N, D): hidden patches are `mask_token`, with their positions (He et al. 2022, Table 1c)."""
        parts = []
        for entry, mask in self._masks.items():
            own, ids, extras = self._backbone.input(entry), _all_ids(mask), self._extras[entry]
            embedded = own.tokenizer.embed(self._all_patches(entry), ids, extras)
            shown = torch.where(mask.hidden.unsqueeze(-1), mask_token.to(embedded.dtype), embedded)
            parts.append(shown + own.positions(ids, extras))
        return torch.cat(parts, dim=1)

    def patches(self, entry: str) -> Tensor:
        """(rows, N, P), the hidden ones zero."""
        return self._all_patches(entry).masked_fill(self._masks[entry].hidden.unsqueeze(-1), 0)

    def class_position(self) -> Tensor | None:
        """(1, 1, D): the sum over modalities that have one."""
        positions = [self._backbone.input(entry).positions.class_position() for entry in self._masks]
        present = [position for position in positions if position is not None]
        return torch.stack(present).sum(0) if present else None

    def latent(
        self, x: Tensor, *, num_prefix: int = 0, everything: bool = False, layers: Mapping[int, Tensor] | None = None
    ) -> Latent:
        """What the encoder returns."""
        counts = None
        if everything or not self._is_ragged:
            counts = {entry: mask.hidden.shape[1] if everything else mask.num_keep for entry, mask in self._masks.items()}
        ids = self.every_id if everything else self.ids
        return Latent(x, num_prefix, ids, self._backbone.spans, counts, dict(layers or {}))

    @functools.cached_property
    def _jointly_visible(self) -> Tensor:
        """(rows, K) into all modalities' patches, side by side. Once a context: it waits for the device."""
        hidden = self.hidden
        if not bool((hidden.sum(1) == hidden[0].sum()).all()):
            raise MaeError(
                f"the masker of {', '.join(map(repr, self._masks))} hides a different number of patches in each sample, which "
                "needs an encoder over all tokens: set model.encoder.mask_tokens=true, or make the masker's count exact"
            )
        return Mask.from_hidden(hidden).ids_keep

    def _embed(self, entry: str, ids: Tensor) -> Tensor:
        """(rows, K, D) of one modality's patches, with their positions."""
        own, extras = self._backbone.input(entry), self._extras[entry]
        kept = gather_patches(self._batch.patches[entry], ids)
        return own.tokenizer.embed(kept, ids, extras) + own.positions(ids, extras)

    def _all_patches(self, entry: str) -> Tensor:
        """(rows, N, P): each sample's patches for each of its contexts."""
        patches, repeats = self._batch.patches[entry], self._masks[entry].repeats
        return patches if repeats == 1 else patches.repeat_interleave(repeats, dim=0)

    def _first(self, entry: str) -> int:
        return self._backbone.spans[entry][0]


def _all_ids(mask: Mask) -> Tensor:
    """(rows, N): every patch in raster order."""
    return torch.arange(mask.hidden.shape[1], device=mask.hidden.device).expand(mask.hidden.shape)


def nothing_hidden(batch: Batch) -> dict[str, Mask]:
    """Masks that keep every patch and ask for none."""
    masks = {}
    for entry, patches in batch.patches.items():
        hidden = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
        masks[entry] = Mask(torch.arange(patches.shape[1], device=patches.device).expand(hidden.shape), hidden, ())
    return masks
