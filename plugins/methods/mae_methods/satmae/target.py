"""What SatMAE predicts: the pixels of each group of bands, by heads that are mixed as published."""

from typing import Literal

import torch
from einops import rearrange, reduce
from torch import Tensor

from mae_core.interfaces import Seen, Target, TargetPlace
from mae_core.parts.pixels import EPS
from mae_methods.satmae.bands import require_groups


class GroupPixels(Target):
    """The pixels of the bands of each patch; mean squared error over these, then over the patches that count.

    The released implementation lists predictions group by group and bands by their own number, and compares the two lists one
    by one. With its groups, band 6, which is of the first group, is thereby predicted by the third output of the second group's
    head. Every band is predicted all the same, only not always by the head of its group.

    Args:
        normalize: "none": values as they are, as in the published command; "place": each place is normalised by the mean and
            unbiased variance of all bands there.
        heads: "published": predictions and bands are paired as in the released implementation; "own": each group's head
            predicts the bands of its group. The same where groups list the bands in order.
    """

    everything = True  # a patch's place says which group it is of, and its error is of other groups' predictions too
    has_picture = True
    source: Tensor
    slots: Tensor
    share: Tensor

    def __init__(
        self,
        place: TargetPlace,
        *,
        normalize: Literal["none", "place"] = "none",
        heads: Literal["published", "own"] = "published",
    ) -> None:
        super().__init__()
        bands = require_groups(place.tokenizer, what="the target satmae_pixels")
        self.dim = bands.patch_dim
        self.normalize = normalize
        slots, self.num_groups = bands.slots(), len(bands.groups)
        predicting = list(range(self.num_groups * bands.max_bands))
        for band, slot in zip(bands.bands_in_order(), slots, strict=True):
            predicting[slot] = slots[band] if heads == "published" else slot
        sizes = torch.tensor([len(group) for group in bands.groups]).unsqueeze(1)
        share = (torch.arange(bands.max_bands) < sizes) / sizes
        self.register_buffer("source", torch.tensor(predicting), persistent=False)
        self.register_buffer("slots", torch.tensor(slots), persistent=False)
        self.register_buffer("share", share.unsqueeze(1), persistent=False)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, P)."""
        if self.normalize == "none":
            return seen.patches
        mean, std = self._statistics(seen.patches)
        return (seen.patches - mean) / std

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """(rows, N, P), (rows, N, P) -> (rows, N), the mean over the bands of each patch's group."""
        squared = self._by_slot(self._paired(pred) - truth).square()
        of_slots = reduce(squared, "b g m l s -> b g l m", "mean")
        return (of_slots * self.share).sum(dim=-1).flatten(1)

    @property
    def raw_differs(self) -> bool:
        """Normalised predictions can be shown only with the true bands' mean and variance."""
        return self.normalize == "place"

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Every band's prediction at its own place, the normalisation undone with the true bands' statistics."""
        pred = self._paired(pred)
        if self.normalize == "none":
            return pred
        mean, std = self._statistics(patches)
        return pred * std + mean

    def raw_patches(self, pred: Tensor) -> Tensor:
        """Every band's prediction at its own place."""
        return self._paired(pred)

    def _by_slot(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, groups, slots for bands, places, pixels)."""
        return rearrange(patches, "b (g l) (m s) -> b g m l s", g=self.num_groups, m=self.share.shape[-1])

    def _paired(self, pred: Tensor) -> Tensor:
        """Predictions as heads made them -> each where the band lies that it is compared with."""
        by_slot = self._by_slot(pred).flatten(1, 2)[:, self.source]
        return rearrange(by_slot, "b (g m) l s -> b (g l) (m s)", g=self.num_groups)

    def _statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of all bands at each place, (B, N, 1) twice, the same for every group."""
        values = self._by_slot(patches).flatten(1, 2)[:, self.slots]
        values = rearrange(values, "b c l s -> b l (c s)")
        mean, std = values.mean(dim=-1, keepdim=True), (values.var(dim=-1, keepdim=True) + EPS).sqrt()
        return mean.repeat(1, self.num_groups, 1), std.repeat(1, self.num_groups, 1)
