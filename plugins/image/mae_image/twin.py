"""MultiMAE's two predictions of a photograph: its pixels, and its pixels normalised a patch, by a decoder each."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mae_core.interfaces import Decoder, DecoderPlace, Extras, Latent, Seen, Target, TargetPlace
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_core.parts.cross_decoder import CrossDecoder
from mae_core.parts.pixels import Pixels


class TwinDecoder(Decoder):
    """Two `cross_attention` decoders of the same sizes; their predictions stand side by side. For the target `twin_pixels`.

    Args:
        width, depth, heads: of each.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
    """

    def __init__(
        self,
        place: DecoderPlace,
        *,
        width: Positive = 256,
        depth: Depth = 2,
        heads: Positive = 8,
        mlp_ratio: PositiveFloat = 4.0,
    ) -> None:
        super().__init__()
        half = replace(place, out_dim=place.out_dim // 2)
        self.plain = CrossDecoder(half, width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        self.normalized = CrossDecoder(half, width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)

    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """(rows, M, 2 P): plain, then normalised; with `everything` (rows, N, 2 P)."""
        both = (self.plain, self.normalized)
        return torch.cat([decoder(latent, ids, extras=extras, everything=everything) for decoder in both], dim=-1)


class TwinPixels(Target):
    """Mean squared errors of the plain and of the normalised pixels, summed; the mean of the samples' means each."""

    has_picture = True

    def __init__(self, place: TargetPlace) -> None:
        super().__init__()
        self.dim = 2 * place.tokenizer.patch_dim
        self.plain = Pixels(place, normalize="none", reduction="sample")
        self.normalized = Pixels(place, normalize="patch", reduction="sample")

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, 2 P)."""
        return torch.cat([self.plain.prepare(seen), self.normalized.prepare(seen)], dim=-1)

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The sum of both."""
        plain, normalized = zip(pred.chunk(2, dim=-1), truth.chunk(2, dim=-1), strict=True)
        return self.plain.error(*plain) + self.normalized.error(*normalized)

    def weight(self, counts: Tensor) -> Tensor:
        """The same for both: the mean of the samples' means."""
        return self.plain.weight(counts)

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """The plain prediction."""
        return self.raw_patches(pred)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The plain prediction."""
        return pred.chunk(2, dim=-1)[0]
