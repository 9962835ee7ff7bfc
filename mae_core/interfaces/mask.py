"""Which patches of each sample are kept, predicted and hidden."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae_registry import MaeError


@dataclass  # not frozen: Lightning Fabric copies a model's outputs field by field
class Mask:
    """Index sets of a batch. B samples, N patches, K kept, M predicted.

    `ids_keep` and `ids_predict` need not be complementary: VideoMAE V2 predicts a part of the hidden tokens, and tokens may
    be in both. `hidden` says what was hidden from the encoder; a prediction counts in the loss only where it was.
    """

    ids_keep: Tensor
    """(B, K) int64: the patches that the encoder sees."""
    ids_predict: Tensor
    """(B, M) int64: the patches that the decoder predicts, in the order of `out.pred`."""
    hidden: Tensor
    """(B, N) bool, True = hidden."""
    ids_restore: Tensor | None = None
    """(B, N) int64: `cat(kept, predicted).gather(ids_restore)` is in raster order. None where they do not partition it."""
    ragged: bool = False
    """Rows hide different numbers of patches: `ids_keep` and `ids_predict` list all N, for an encoder over all tokens."""

    @classmethod
    def from_noise(cls, noise: Tensor, num_keep: int) -> "Mask":
        """Keep the `num_keep` patches of lowest noise (B, N), by a stable argsort, so that equal noise is no ambiguity."""
        if not 0 <= num_keep <= noise.shape[1]:
            raise MaeError(f"num_keep is {num_keep}; it must be from 0 to the number of patches, {noise.shape[1]}")
        ids_shuffle = torch.argsort(noise, dim=1, stable=True)
        # the inverse permutation; scattering it costs a fortieth of sorting once more
        ids_restore = torch.empty_like(ids_shuffle)
        ids_restore.scatter_(1, ids_shuffle, torch.arange(noise.shape[1], device=noise.device).expand_as(ids_shuffle))
        return cls(ids_shuffle[:, :num_keep], ids_shuffle[:, num_keep:], ids_restore >= num_keep, ids_restore)

    @classmethod
    def from_hidden(cls, hidden: Tensor, *, ragged: bool = False) -> "Mask":
        """From (B, N) bool, True = hidden; ids in raster order. Raises MaeError on unequal rows.

        `ragged`: rows may be unequal, and the mask is ragged even where by chance they are not.
        """
        if ragged:
            every = torch.arange(hidden.shape[1], device=hidden.device).expand_as(hidden)
            return cls(every, every, hidden, ragged=True)
        num_hidden = hidden.sum(dim=1)
        if bool((num_hidden == num_hidden[0]).all()):
            # a stable argsort of a boolean is its raster order: the kept (False) first
            return cls.from_noise(hidden.to(torch.uint8), hidden.shape[1] - int(num_hidden[0]))
        counts = sorted(set(num_hidden.tolist()))
        raise MaeError(
            f"samples of one batch hide different numbers of patches ({counts[0]} to {counts[-1]} of {hidden.shape[1]}); "
            "make the masker's count exact, or say `ragged: true` with an encoder over all tokens (mask_tokens: true)"
        )

    @classmethod
    def cat(cls, masks: Sequence["Mask"]) -> "Mask":
        """The masks of several samples as one batch. Raises MaeError if they do not keep, or predict, equally many."""
        for name in ("ids_keep", "ids_predict"):
            counts = sorted({getattr(mask, name).shape[1] for mask in masks})
            if len(counts) > 1:
                kept = "keep" if name == "ids_keep" else "predict"
                raise MaeError(f"samples of one batch {kept} different numbers of patches ({counts[0]} to {counts[-1]})")
        return masks[0].map(lambda *parts: torch.cat(parts), *masks[1:])

    @property
    def num_keep(self) -> int:
        """K."""
        return self.ids_keep.shape[1]

    def same_context(self, other: "Mask") -> bool:
        """Whether both are known, without a look at the values, to show the encoder the same patches: they share the memory."""
        return all(
            own.data_ptr() == others.data_ptr() and own.shape == others.shape
            for own, others in ((self.ids_keep, other.ids_keep), (self.hidden, other.hidden))
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Mask":
        """The same mask on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def __getitem__(self, samples: slice) -> "Mask":
        """The mask of some samples of the batch."""
        return self.map(lambda tensor: tensor[samples])

    def map(self, function: Callable[..., Tensor], *others: "Mask") -> "Mask":
        """`function` of each tensor, together with the same one of `others`."""
        masks = (self, *others)
        restore = [mask.ids_restore for mask in masks if mask.ids_restore is not None]
        return Mask(
            function(*(mask.ids_keep for mask in masks)),
            function(*(mask.ids_predict for mask in masks)),
            function(*(mask.hidden for mask in masks)),
            function(*restore) if len(restore) == len(masks) else None,
            any(mask.ragged for mask in masks),
        )


MaskSets = Mask | tuple[Mask, ...]
"""What a masker draws: one mask, or several of the same samples."""


def each_mask(masks: MaskSets) -> tuple[Mask, ...]:
    """The masks, also where it is one."""
    return (masks,) if isinstance(masks, Mask) else masks


def gather_patches(x: Tensor, ids: Tensor) -> Tensor:
    """(B, N, D), (B, K) -> (B, K, D)."""
    return x.gather(1, ids.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
