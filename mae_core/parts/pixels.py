"""What is predicted: the patches themselves."""

from typing import Literal

import torch
from torch import Tensor

from mae_core.interfaces import Seen, Target, TargetPlace

EPS = 1e-6
"""Added to a patch's variance, inside the root, as the published MAE does."""


Reduction = Literal["batch", "sample"]


def weigh_counts(counts: Tensor, reduction: Reduction) -> Tensor:
    """(rows, M) how much each prediction counts -> (rows, M) its weight. See `Pixels` for `reduction`."""
    weight = counts.float()
    if reduction == "sample":
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)  # not 0 / 0
    return weight


class Pixels(Target):
    """The values of each patch; mean error over a patch, then over the patches that count (He et al. 2022, section 3).

    Args:
        error: "mse" squares the differences, "l1" takes their absolute values.
        reduction: "batch": the mean over all patches of the batch that count; "sample": the mean of the samples' means, those
            without any left out (MultiMAE).
        normalize: "patch": every patch is normalised by its own mean and unbiased variance, all channels together (better
            representations, Table 1d); "none": the values as they are (the paper's pictures).
    """

    has_picture = True

    def __init__(
        self,
        place: TargetPlace,
        *,
        normalize: Literal["patch", "none"] = "patch",
        error: Literal["mse", "l1"] = "mse",
        reduction: Reduction = "batch",
    ) -> None:
        super().__init__()
        self._kind = error
        self.reduction: Reduction = reduction
        self.dim = place.tokenizer.patch_dim
        self.normalize = normalize

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, P)."""
        if self.normalize == "none":
            return seen.patches
        mean, std = _statistics(seen.patches)
        return (seen.patches - mean) / std

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean over a patch's values."""
        difference = pred - truth
        return (difference.square() if self._kind == "mse" else difference.abs()).mean(dim=-1)

    def weight(self, counts: Tensor) -> Tensor:
        """The weights according to `reduction`."""
        return weigh_counts(counts, self.reduction)

    @property
    def raw_differs(self) -> bool:
        """Normalised predictions can be drawn only with the true patches' mean and variance."""
        return self.normalize == "patch"

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Undo the normalisation with the true patches' statistics."""
        if self.normalize == "none":
            return pred
        mean, std = _statistics(patches)
        return pred * std + mean

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The prediction as it is."""
        return pred


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (..., P) -> (..., 1) twice."""
    return patches.mean(dim=-1, keepdim=True), (patches.var(dim=-1, keepdim=True) + EPS).sqrt()
