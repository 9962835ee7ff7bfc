"""The decoder: transformer blocks over context tokens and mask tokens, a set with positions."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import Decoder, Grid, MakePositions, gather_patches
from mae_core.parts.blocks import LayerNorm, QueryBlock, init_linear_and_norm, make_block, require_heads_divide

Positive = Annotated[int, Field(ge=1)]


class ViTDecoder(Decoder):
    """The lightweight decoder of He et al. (2022), section 3.

    Self-attention does not depend on the order of its tokens, so context and mask tokens are concatenated as they come, each
    with its own position; the published decoder first puts them in raster order, with the same result.

    Args:
        width, depth, heads: the paper's default is 512, 8, 16 for every encoder.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        class_token: "keep" the encoder's class token as context (the published MAE), "drop" it, or put the decoder's "own" in
            its place (MAE-ST).
        embed_bias: whether the projection of the latents to the decoder's width has a bias (VideoMAE's has none).
    """

    def __init__(
        self,
        context_width: int,
        out_dim: int,
        grid: Grid,  # not used: a set with positions needs no geometry
        make_positions: MakePositions,
        dense: bool,
        *,
        width: Positive,
        depth: Positive,
        heads: Positive,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        class_token: Literal["keep", "drop", "own"] = "keep",
        embed_bias: bool = True,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.dense = dense
        self.class_token = class_token
        self.positions = make_positions(width)
        self.embed = nn.Linear(context_width, width, bias=embed_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token == "own" else None
        self.mask_token = None if dense else nn.Parameter(0.02 * torch.randn(1, 1, width))
        blocks: list[nn.Module] = [make_block(width, heads, mlp_ratio) for _ in range(depth - 1)]
        self.blocks = nn.ModuleList([*blocks, QueryBlock(width, heads, mlp_ratio)])
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, out_dim)
        for module in (self.embed, self.blocks, self.norm, self.head):
            module.apply(init_linear_and_norm)

    def forward(
        self, latent: Tensor, ids_keep: Tensor, ids_predict: Tensor, *, num_prefix_tokens: int, predict_all: bool = False
    ) -> Tensor:
        """(B, prefix + K, D), (B, K), (B, M) -> (B, M, T); with `predict_all` (B, K + M, T), or (B, K, T) where dense."""
        x = self.embed(latent)
        tokens = [x[:, num_prefix_tokens:] + self.positions(ids_keep)]
        if self.mask_token is not None:
            queries = self.mask_token + self.positions(ids_predict)
            tokens.append(queries.expand(*ids_predict.shape, -1).to(x.dtype))
        grid_tokens = torch.cat(tokens, dim=1)
        x = torch.cat([self._prefix(x[:, :num_prefix_tokens]), grid_tokens], dim=1)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        grid_tokens = x[:, -grid_tokens.shape[1] :]
        if not predict_all:
            grid_tokens = gather_patches(grid_tokens, ids_predict) if self.dense else grid_tokens[:, ids_keep.shape[1] :]
        return self.head(self.norm(last(x, grid_tokens)))

    def _prefix(self, prefix: Tensor) -> Tensor:
        """The tokens that stand before the grid's: (B, P, W) -> (B, P', W)."""
        if self.class_token == "drop":
            return prefix[:, :0]
        if self.cls_token is not None:
            prefix = self.cls_token.expand(len(prefix), -1, -1).to(prefix.dtype)
        position = self.positions.class_position()
        return prefix if position is None else prefix + position
