"""The decoder of the published Audio-MAE: blocks that attend within local, shifted windows of the spectrogram."""

from collections.abc import Mapping
from typing import Annotated

import torch
from einops import repeat
from pydantic import Field
from torch import Tensor, nn

from mae_audio.window_blocks import WindowBlock
from mae_core.interfaces import NO_EXTRAS, Decoder, DecoderPlace, Extras, Grid, Latent, gather_patches, in_raster_order
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm, require_heads_divide
from mae_registry import ConfigError

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
        place: DecoderPlace,
        *,
        width: Positive,
        depth: Depth,
        heads: Positive,
        window: tuple[Positive, Positive] = (4, 4),
        shift: tuple[Shift, Shift] = (2, 0),
        mlp_ratio: PositiveFloat = 4.0,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        grid = place.grid
        _require_windows_fit(grid, window, shift)
        self.entry = place.entry
        self.num_patches = grid.num_patches
        self.positions = place.positions(width)
        self.embed = nn.Linear(place.context_width, width)
        self.mask_token = None if place.returns_all else nn.Parameter(0.02 * torch.randn(1, 1, width))
        # a shift along an axis of one window would only cut it in two
        shift = (shift[0] * (grid.sizes[0] > window[0]), shift[1] * (grid.sizes[1] > window[1]))
        shifts = [(0, 0), shift]
        self.blocks = nn.ModuleList(
            WindowBlock(grid, width, heads, window=window, shift=shifts[i % 2], mlp_ratio=mlp_ratio) for i in range(depth)
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, place.out_dim)
        for module in (self.embed, self.blocks, self.norm, self.head):
            module.apply(init_linear_and_norm)

    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """The latent, (rows, M) -> (rows, M, T); with `everything` (rows, N, T), NaN where neither seen nor asked for."""
        latent = latent.of(self.entry)
        x = self.embed(latent.x)[:, latent.num_prefix :]
        if self.mask_token is not None:
            x = self._unshuffle(x, latent.ids, self.mask_token)
        every = torch.arange(self.num_patches, device=x.device).unsqueeze(0)
        x = x + self.positions(every, extras.get(self.entry, NO_EXTRAS))
        for block in self.blocks:
            x = block(x)
        if everything:
            ids = torch.cat([latent.ids, ids], dim=1)
        pred = self.head(self.norm(gather_patches(x, ids)))
        return in_raster_order(self.num_patches, (ids, pred)) if everything else pred

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
