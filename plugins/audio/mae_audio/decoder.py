"""The decoder of the published Audio-MAE: blocks that attend within local, shifted windows of the spectrogram."""

from typing import Annotated

import torch
from einops import repeat
from pydantic import Field
from torch import Tensor, nn

from mae_audio.window_blocks import WindowBlock
from mae_core.interfaces import Decoder, Grid, MakePositions, gather_patches
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm, require_heads_divide
from mae_registry import ConfigError

Positive = Annotated[int, Field(ge=1)]
Shift = Annotated[int, Field(ge=0)]


class LocalWindowsDecoder(Decoder):
    """Puts visible and mask tokens on the grid, and attends within windows of it, every other block's being shifted.

    The class token is dropped. All patches are computed, since they are each other's neighbours; those asked for are returned.

    Args:
        width, depth, heads: published: 512, 16, 16.
        window: patches of a window along t and f; it must divide the grid.
        shift: patches along t and f that the windows of the second, fourth, ... block are shifted by; published: time only.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
    """

    def __init__(
        self,
        context_width: int,
        out_dim: int,
        grid: Grid,
        make_positions: MakePositions,
        dense: bool,
        *,
        width: Positive,
        depth: Positive,
        heads: Positive,
        window: tuple[Positive, Positive] = (4, 4),
        shift: tuple[Shift, Shift] = (2, 0),
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        _require_windows_fit(grid, window, shift)
        self.num_patches = grid.num_patches
        self.positions = make_positions(width)
        self.embed = nn.Linear(context_width, width)
        self.mask_token = None if dense else nn.Parameter(0.02 * torch.randn(1, 1, width))
        # a shift along an axis of one window would only cut it in two
        shift = (shift[0] * (grid.sizes[0] > window[0]), shift[1] * (grid.sizes[1] > window[1]))
        shifts = [(0, 0), shift]
        self.blocks = nn.ModuleList(
            WindowBlock(grid, width, heads, window=window, shift=shifts[i % 2], mlp_ratio=mlp_ratio) for i in range(depth)
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, out_dim)
        for module in (self.embed, self.blocks, self.norm, self.head):
            module.apply(init_linear_and_norm)

    def forward(
        self, latent: Tensor, ids_keep: Tensor, ids_predict: Tensor, *, num_prefix_tokens: int, predict_all: bool = False
    ) -> Tensor:
        """(B, prefix + K, D), (B, K), (B, M) -> (B, M, T); with `predict_all` (B, K + M, T), or (B, K, T) where dense."""
        x = self.embed(latent)[:, num_prefix_tokens:]
        if self.mask_token is not None:
            x = self._unshuffle(x, ids_keep, self.mask_token)
        every = torch.arange(self.num_patches, device=x.device).unsqueeze(0)
        x = x + self.positions(every)
        for block in self.blocks:
            x = block(x)
        ids = ids_predict
        if predict_all:
            ids = ids_keep if self.mask_token is None else torch.cat([ids_keep, ids_predict], dim=1)
        return self.head(self.norm(gather_patches(x, ids)))

    def _unshuffle(self, x: Tensor, ids_keep: Tensor, mask_token: Tensor) -> Tensor:
        """(B, K, W) -> (B, N, W) in raster order, mask tokens at all other patches."""
        tokens = repeat(mask_token.to(x.dtype), "1 1 w -> b n w", b=len(x), n=self.num_patches)
        return tokens.scatter(1, ids_keep.unsqueeze(-1).expand_as(x), x)


def _require_windows_fit(grid: Grid, window: tuple[int, int], shift: tuple[int, int]) -> None:
    if len(grid.sizes) != 2:
        raise ConfigError(f"local windows need a grid of two axes; {grid} has {len(grid.sizes)}: use decoder {{name: vit}}")
    for axis, size, side, by in zip(grid.axes, grid.sizes, window, shift, strict=True):
        if size % side:
            allowed = ", ".join(str(n) for n in range(1, size + 1) if size % n == 0)
            raise ConfigError(f"window: {side} patches do not divide axis {axis!r} of the grid {grid}; use one of {allowed}")
        if by >= side:
            raise ConfigError(f"shift: {by} along axis {axis!r} must be smaller than the window, {side}")
