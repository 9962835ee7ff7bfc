"""MultiMAE's two predictions of a photograph: its pixels, and its pixels normalised a patch, by a decoder each."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Decoder, Grid, MakePositions, Target, Tokenizer
from mae_core.parts.cross_decoder import CrossDecoder
from mae_core.parts.pixels import Pixels

Positive = Annotated[int, Field(ge=1)]


class TwinDecoder(Decoder):
    """Two `cross_attention` decoders of the same sizes; their predictions stand side by side. For the target `twin_pixels`.

    Args:
        width, depth, heads: of each.
    """

    attends_to_all = True

    def __init__(
        self,
        context_width: int,
        out_dim: int,
        grid: Grid,
        make_positions: MakePositions,
        dense: bool,
        modality: str,
        every: Mapping[str, tuple[Grid, MakePositions]],
        *,
        width: Positive = 256,
        depth: Positive = 2,
        heads: Positive = 8,
    ) -> None:
        super().__init__()
        wired = (context_width, out_dim // 2, grid, make_positions, dense, modality, every)
        self.plain = CrossDecoder(*wired, width=width, depth=depth, heads=heads)
        self.normalized = CrossDecoder(*wired, width=width, depth=depth, heads=heads)

    def forward(
        self, latent: Tensor, ids_keep: Tensor, ids_predict: Tensor, *, num_prefix_tokens: int, predict_all: bool = False
    ) -> Tensor:
        """(B, M, 2 P): plain, then normalised; with `predict_all` (B, N, 2 P)."""
        arguments = {"num_prefix_tokens": num_prefix_tokens, "predict_all": predict_all}
        return torch.cat([decoder(latent, ids_keep, ids_predict, **arguments) for decoder in (self.plain, self.normalized)], -1)


class TwinPixels(Target):
    """Mean squared errors of the plain and of the normalised pixels, summed; the mean of the samples' means each."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.dim = 2 * tokenizer.patch_dim
        self.plain = Pixels(tokenizer, normalize="none", reduction="sample")
        self.normalized = Pixels(tokenizer, normalize="patch", reduction="sample")

    def forward(self, x: Tensor, patches: Tensor, ids: Tensor) -> Tensor:
        """(B, M, 2 P)."""
        return torch.cat([self.plain(x, patches, ids), self.normalized(x, patches, ids)], dim=-1)

    def loss(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """The sum of both."""
        pairs = zip(pred.chunk(2, dim=-1), target.chunk(2, dim=-1), strict=True)
        plain, normalized = (self.plain.loss(p, t, weight) for p, t in pairs)
        return plain + normalized

    @property
    def raw_differs(self) -> bool:
        """The plain prediction is drawn."""
        return False

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """The plain prediction."""
        return self.raw_patches(pred)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The plain prediction."""
        return pred.chunk(2, dim=-1)[0]
