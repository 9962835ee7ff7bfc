"""What is predicted: the patches themselves."""

from typing import Literal

from torch import Tensor

from mae_core.interfaces import Target, Tokenizer, gather_patches

EPS = 1e-6
"""Added to a patch's variance, inside the root, as the published MAE does."""


Reduction = Literal["batch", "sample"]


def reduce_loss(per_patch: Tensor, weight: Tensor, reduction: Reduction) -> Tensor:
    """(B, M) losses and (B, M) bool which of them count -> 0-d. See `Pixels` for `reduction`."""
    if reduction == "batch":
        return (per_patch * weight).sum() / weight.sum()
    counts = weight.sum(dim=1)
    means = (per_patch * weight).sum(dim=1) / counts.clamp(min=1)  # not 0 / 0, whose gradient would be NaN
    return means.sum() / (counts > 0).sum()


class Pixels(Target):
    """The values of each patch; mean error over a patch, then over the patches that count (He et al. 2022, section 3).

    Args:
        error: "mse" squares the differences, "l1" takes their absolute values.
        reduction: "batch": the mean over all patches of the batch that count; "sample": the mean of the samples' means, those
            without any left out (MultiMAE).
        normalize: "patch": every patch is normalised by its own mean and unbiased variance, all channels together (better
            representations, Table 1d); "none": the values as they are (the paper's pictures).
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        normalize: Literal["patch", "none"] = "patch",
        error: Literal["mse", "l1"] = "mse",
        reduction: Reduction = "batch",
    ) -> None:
        super().__init__()
        self.error = error
        self.reduction: Reduction = reduction
        self.dim = tokenizer.patch_dim
        self.normalize = normalize

    def forward(self, x: Tensor, patches: Tensor, ids: Tensor) -> Tensor:
        """(B, M, P)."""
        target = gather_patches(patches, ids)
        if self.normalize == "none":
            return target
        mean, std = _statistics(target)
        return (target - mean) / std

    def loss(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Mean over a patch's values, then over the patches that count."""
        difference = pred - target
        error = difference.square() if self.error == "mse" else difference.abs()
        return reduce_loss(error.mean(dim=-1), weight, self.reduction)

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
