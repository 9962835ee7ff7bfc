"""What is predicted: the id that a frozen quantizer gives to each patch."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Predicted, Quantizer, Seen, Target, TargetPlace, gather_patches
from mae_core.parts.full_precision import full_precision
from mae_core.parts.tensor_files import read_tensors
from mae_core.registry import build_component
from mae_core.section import Section
from mae_registry import ConfigError

CHUNK = 4096
"""Patches that are compared with a codebook at a time, so that the distances to 8192 codes take 128 MiB."""


class Tokens(Target):
    """The token of each patch in the vocabulary of a frozen quantizer, by cross-entropy (BEiT; He et al. 2022, Table 1d).

    The log gets `token_accuracy`, the share of the predicted patches whose likeliest token is the right one.

    Args:
        quantizer: a component of kind `quantizers`.
    """

    def __init__(
        self, place: TargetPlace, *, quantizer: Annotated[Mapping[str, Any], Section("quantizers")] = {"name": "codebook"}
    ) -> None:
        super().__init__()
        self.quantizer: Quantizer = build_component("quantizers", quantizer, place).requires_grad_(False).eval()
        self.dim = self.quantizer.num_tokens
        self.has_picture = self.quantizer.has_picture

    def train(self, mode: bool = True) -> Self:
        """The quantizer is never in training mode."""
        super().train(mode)
        self.quantizer.eval()
        return self

    def read_weights(self) -> None:
        """Those of the quantizer."""
        self.quantizer.read_weights()

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N) ids."""
        with torch.no_grad(), full_precision(seen.x):
            return self.quantizer.quantize(seen)

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of the scores (rows, M, T) and the ids (rows, M)."""
        return F.cross_entropy(pred.flatten(0, 1), truth.flatten(), reduction="none").reshape(truth.shape)

    def metrics(self, predicted: Predicted) -> Mapping[str, Tensor]:
        """`token_accuracy`."""
        truth = gather_patches(predicted.truth, predicted.mask.ids_predict)
        return {"token_accuracy": (predicted.pred.argmax(dim=-1) == truth).float().mean()}

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """The patches of the likeliest tokens."""
        return self.raw_patches(pred)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The same as `to_patches`."""
        return self.quantizer.to_patches(pred.argmax(dim=-1))


class Codebook(Quantizer):
    """The nearest of a number of patches, by the squared distance of normalised values: the smallest quantizer there is.

    Args:
        num_tokens: patches of the codebook. BEiT's vocabulary has 8192 tokens.
        file: a safetensors file with one tensor `codes`, (num_tokens, values of a patch), normalised as the tokenizer does.
    """

    has_picture = True
    codes: Tensor

    def __init__(self, place: TargetPlace, *, num_tokens: Annotated[int, Field(ge=2)] = 8192, file: str | None = None) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self._file = file
        self.register_buffer("codes", torch.zeros(num_tokens, place.tokenizer.patch_dim))

    def read_weights(self) -> None:
        """Raises ConfigError where the file holds no codebook for these patches."""
        what = f"codes for patches of {self.codes.shape[1]} values"
        advice = "any clustering of normalised patches gives such codes"
        codes = read_tensors(self._file, ("codes",), key="quantizer.file", what=what, advice=advice)["codes"]
        if codes.shape != self.codes.shape:
            raise ConfigError(
                f"quantizer.file: {self._file} has {tuple(codes.shape)} codes x values; needed are {tuple(self.codes.shape)}"
            )
        self.codes.copy_(codes)

    def quantize(self, seen: Seen) -> Tensor:
        """(B, N); of equally near codes, the first."""
        half_squares = self.codes.square().sum(dim=1) / 2
        chunks = seen.patches.flatten(0, 1).split(CHUNK)
        ids = torch.cat([(half_squares - patches @ self.codes.T).argmin(dim=1) for patches in chunks])
        return ids.reshape(seen.patches.shape[:2])

    def to_patches(self, ids: Tensor) -> Tensor:
        """The codes themselves."""
        return self.codes[ids]
