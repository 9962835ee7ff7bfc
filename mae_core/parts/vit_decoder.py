"""The decoder: transformer blocks over context tokens and mask tokens, a set with positions."""

import functools
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Decoder, DecoderPlace, Extras, Latent, gather_patches, in_raster_order
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_core.parts.blocks import Init, LayerNorm, QueryBlock, init_linear_and_norm, make_block, require_heads_divide


class ViTDecoder(Decoder):
    """The lightweight decoder of He et al. (2022), section 3.

    Self-attention does not depend on the order of its tokens, so context and mask tokens are concatenated as they come, each
    with its own position; the published decoder first puts them in raster order, with the same result.

    Args:
        width, depth, heads: the paper's default is 512, 8, 16 for every encoder.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        class_token: "keep" the encoder's class token as context (the published MAE), "drop" it, or put the decoder's "own" in
            its place (MAE-ST).
        init: weights of linear layers at the start; see the encoder `vit`.
        embed_bias: whether the projection of the latents to the decoder's width has a bias (VideoMAE's has none).
    """

    def __init__(
        self,
        place: DecoderPlace,
        *,
        width: Positive,
        depth: Depth,
        heads: Positive,
        mlp_ratio: PositiveFloat = 4.0,
        class_token: Literal["keep", "drop", "own"] = "keep",
        embed_bias: bool = True,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.entry = place.entry
        self.num_patches = place.grid.num_patches
        self.returns_all = place.returns_all
        self.class_token = class_token
        self.positions = place.positions(width)
        self.embed = nn.Linear(place.context_width, width, bias=embed_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token == "own" else None
        self.mask_token = None if place.returns_all else nn.Parameter(0.02 * torch.randn(1, 1, width))
        blocks: list[nn.Module] = [make_block(width, heads, mlp_ratio) for _ in range(depth - 1)]
        self.blocks = nn.ModuleList([*blocks, QueryBlock(width, heads, mlp_ratio)])
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, place.out_dim)
        for module in (self.embed, self.blocks, self.norm, self.head):
            module.apply(functools.partial(init_linear_and_norm, init=init))

    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """The latent of all modalities, (rows, M) -> (rows, M, T); with `everything` (rows, N, T) in raster order."""
        latent, own = latent.of(self.entry), extras.get(self.entry, NO_EXTRAS)
        x = self.embed(latent.x)
        prefix, context = x[:, : latent.num_prefix], x[:, latent.num_prefix :]
        tokens, places = context + self.positions(latent.ids, own), latent.ids
        if self.mask_token is not None:
            queries = self.mask_token + self.positions(ids, own)
            tokens = torch.cat([tokens, queries.expand(*ids.shape, -1).to(x.dtype)], dim=1)
            places = torch.cat([latent.ids, ids], dim=1)
        x = torch.cat([self._prefix(prefix), tokens], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        tokens = x[:, -tokens.shape[1] :]
        if not everything:
            tokens = gather_patches(tokens, ids) if self.returns_all else tokens[:, latent.ids.shape[1] :]
        pred = self.predict(self.norm(last(x, tokens)), places if everything else ids)
        if not everything:
            return pred
        # a patch that is both seen and asked for stands there twice, the query last
        return in_raster_order(self.num_patches, *_halves(places, pred, latent.ids.shape[1]))

    def predict(self, x: Tensor, ids: Tensor) -> Tensor:
        """What the last block made of these patches, (rows, M, W), and which ones they are, (rows, M) -> (rows, M, T)."""
        return self.head(x)

    def _prefix(self, prefix: Tensor) -> Tensor:
        """The tokens that stand before the grid's: (B, P, W) -> (B, P', W)."""
        if self.class_token == "drop":
            return prefix[:, :0]
        if self.cls_token is not None:
            prefix = self.cls_token.expand(len(prefix), -1, -1).to(prefix.dtype)
        position = self.positions.class_position()
        return prefix if position is None else prefix + position


def _halves(ids: Tensor, pred: Tensor, num_context: int) -> list[tuple[Tensor, Tensor]]:
    """Ids and predictions of the context, and of the queries."""
    sizes = [num_context, ids.shape[1] - num_context]
    return list(zip(ids.split(sizes, dim=1), pred.split(sizes, dim=1), strict=True))
