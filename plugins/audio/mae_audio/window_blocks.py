"""Transformer blocks that attend within local windows (Swin V2, Liu et al. 2022, as the published Audio-MAE has it)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.interfaces import Grid
from mae_core.parts.blocks import LayerNorm

MIN_TAU = 0.01
WRAPPED = -100.0
"""Added to the attention between tokens that a shift's wrap-around alone brings into one window."""
POSITION_WIDTH, POSITION_DROPOUT = 384, 0.1


class WindowAttention(nn.Module):
    """Cosine attention within windows of the grid's two axes; the temperature of each head, `tau`, is learned.

    What a query's attention to a key gains by their offset is what a small MLP says of the logarithm of the offset, so
    that no table ties the weights to one window. Windows of an odd block are shifted, the grid wrapping around.
    """

    log_offsets: Tensor
    wrapped: Tensor | None

    def __init__(self, grid: Grid, width: int, heads: int, *, window: Sequence[int], shift: Sequence[int]) -> None:
        super().__init__()
        self.sizes, self.window, self.shift, self.heads = grid.sizes, tuple(window), tuple(shift), heads
        self.tau = nn.Parameter(torch.ones(heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.meta_mlp = Mlp(2, POSITION_WIDTH, heads, act_layer=nn.ReLU, drop=POSITION_DROPOUT)
        self.register_buffer("log_offsets", _log_offsets(window), persistent=False)
        shifted = any(self.shift)
        self.register_buffer("wrapped", _wrapped(grid.sizes, window, shift) if shifted else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) in raster order -> (B, N, D)."""
        batch_size = len(x)
        windows = self._split(self.qkv(x))
        q, k, v = rearrange(windows, "b l (three h d) -> three b h l d", three=3, h=self.heads)
        q = F.normalize(q, dim=-1) / self.tau.clamp(min=MIN_TAU)[:, None, None]
        bias = self.meta_mlp(self.log_offsets).permute(2, 0, 1).unsqueeze(0)
        if self.wrapped is not None:
            bias = (bias + self.wrapped).repeat(batch_size, 1, 1, 1)
        attended = F.scaled_dot_product_attention(q.to(v), F.normalize(k, dim=-1).to(v), v, attn_mask=bias.to(v), scale=1.0)
        return self.proj(self._join(rearrange(attended, "b h l d -> b l (h d)")))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B * windows, tokens of a window, C), the windows in raster order."""
        x = x.unflatten(1, self.sizes)
        if any(self.shift):
            x = x.roll([-s for s in self.shift], (1, 2))
        return rearrange(x, "b (m p) (n q) c -> (b m n) (p q) c", p=self.window[0], q=self.window[1])

    def _join(self, windows: Tensor) -> Tensor:
        """The inverse."""
        (p, q), (t, f) = self.window, self.sizes
        x = rearrange(windows, "(b m n) (p q) c -> b (m p) (n q) c", p=p, q=q, m=t // p, n=f // q)
        if any(self.shift):
            x = x.roll(self.shift, (1, 2))
        return x.flatten(1, 2)


class WindowBlock(nn.Module):
    """Window attention and an MLP, each normalised after it and before it is added."""

    def __init__(
        self, grid: Grid, width: int, heads: int, *, window: Sequence[int], shift: Sequence[int], mlp_ratio: float
    ) -> None:
        super().__init__()
        self.attn = WindowAttention(grid, width, heads, window=window, shift=shift)
        self.norm1 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.norm2 = LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) in raster order -> (B, N, D)."""
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


def _log_offsets(window: Sequence[int]) -> Tensor:
    """(L, L, 2): sign(d) log(1 + |d|) of d = query - key along both axes, for the L tokens of a window."""
    where = torch.cartesian_prod(*(torch.arange(side) for side in window)).float()
    offsets = where[:, None] - where[None]
    return offsets.sign() * offsets.abs().log1p()


def _wrapped(sizes: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """(windows, 1, L, L): `WRAPPED` between tokens from opposite edges of the grid, else 0."""
    num_windows = math.prod(size // side for size, side in zip(sizes, window, strict=True))
    regions = torch.zeros(1, 1, dtype=torch.int64)
    for axis, (size, by) in enumerate(zip(sizes, shift, strict=True)):
        from_other_edge = (torch.arange(size) >= size - by).long()
        regions = 2 * regions + (from_other_edge[:, None] if axis == 0 else from_other_edge)
    regions = rearrange(regions, "(m p) (n q) -> (m n) (p q)", p=window[0], q=window[1])
    assert len(regions) == num_windows
    return WRAPPED * (regions[:, None, :, None] != regions[:, None, None, :]).float()
