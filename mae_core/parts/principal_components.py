"""What is predicted: the largest coefficients of each patch in the basis of its principal components."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mae_core.interfaces import Seen, Target, TargetPlace
from mae_core.interfaces.numbers import Positive
from mae_core.parts.full_precision import full_precision
from mae_core.parts.tensor_files import read_tensors
from mae_registry import ConfigError, MaeError

MEAN, COMPONENTS, VARIANCES = "mean", "components", "variances"
"""The tensors of a file: (P,), (P, P) with one component in each row, and (P,), from the largest variance to the smallest."""


class PrincipalComponents(Target):
    """The coefficients of each patch on the first principal components of all patches (He et al. 2022, Table 1d).

    The basis is measured on data by `mae statistics RECIPE --pca FILE`, and is then saved with the model. The error is the mean
    over a patch's squared differences, which is that of the patches themselves within the space of the components.

    Args:
        num_components: coefficients of a patch, those of the largest variance.
        file: the basis, as a safetensors file; see `measure_basis`.
    """

    has_picture = True
    mean: Tensor
    components: Tensor

    def __init__(self, place: TargetPlace, *, num_components: Positive = 96, file: str | None = None) -> None:
        super().__init__()
        num_values = place.tokenizer.patch_dim
        if num_components > num_values:
            raise ConfigError(f"num_components is {num_components}, but a patch has only {num_values} values")
        self.dim = num_components
        self._file = file
        self.register_buffer(MEAN, torch.zeros(num_values))
        self.register_buffer(COMPONENTS, torch.eye(num_components, num_values))

    def read_weights(self) -> None:
        """Raises ConfigError where the file holds no basis for these patches."""
        advice = "`mae statistics RECIPE --pca FILE` writes one"
        found = read_tensors(
            self._file, (MEAN, COMPONENTS), key="file", what="the principal components of patches", advice=advice
        )
        mean, components = found[MEAN], found[COMPONENTS][: self.dim]
        if mean.shape != self.mean.shape or components.shape != self.components.shape:
            raise ConfigError(
                f"file: {self._file} has {len(found[COMPONENTS])} components of patches of {mean.numel()} values; needed are "
                f"{self.dim} components of patches of {len(self.mean)} values; {advice}"
            )
        self.mean.copy_(mean)
        self.components.copy_(components)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, T)."""
        with full_precision(seen.patches):
            return (seen.patches - self.mean) @ self.components.T

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean over a patch's coefficients."""
        return (pred - truth).square().mean(dim=-1)

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """The patches that have these coefficients, and none on the other components."""
        return self.raw_patches(pred)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The same as `to_patches`."""
        return pred @ self.components + self.mean


def measure_basis(batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Normalised patches (..., P) -> the tensors of a file for the target `pca`, in float32.

    Nothing but sums is kept of the patches, so there may be any number of them. The sign of a component is such that its
    largest value is positive. Raises MaeError for fewer than two patches.
    """
    number, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        patches = batch.flatten(0, -2).double()
        number += len(patches)
        total = total + patches.sum(dim=0)
        products = products + patches.T @ patches
    if number < 2:
        raise MaeError(f"principal components need two patches or more; there are {number}")
    mean = total / number
    covariance = (products - number * torch.outer(mean, mean)) / (number - 1)
    variances, vectors = torch.linalg.eigh(covariance)
    components = vectors.T.flip(0)
    largest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    basis = {MEAN: mean, COMPONENTS: components * largest.sign(), VARIANCES: variances.flip(0).clamp(min=0)}
    return {name: tensor.float() for name, tensor in basis.items()}
