"""Transformer blocks of encoder and decoder: timm's, with the published LayerNorm and initialisation."""

from typing import Literal

import timm.layers.drop
import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_registry import ConfigError


class LayerNorm(nn.LayerNorm):
    """A layer norm with the epsilon of the published implementation."""

    def __init__(self, width: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__(width, eps=1e-6, device=device, dtype=dtype)


class DropPath(timm.layers.drop.DropPath):
    """In training, leaves out the branch of a block for some samples, and scales it up for the others (stochastic depth).

    As timm's, but the rate is a tensor: `torch.compile` compiles blocks of all rates once, where it would compile timm's once
    for each rate, and none after the eighth.
    """

    keep: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.register_buffer("keep", torch.tensor(1 - rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        if not self.training:
            return x
        kept = torch.bernoulli(self.keep.expand(len(x), *[1] * (x.ndim - 1)))
        return x * (kept / self.keep).to(x.dtype)


def make_block(width: int, heads: int, mlp_ratio: float, *, drop_path: float = 0.0) -> Block:
    """A pre-norm self-attention block with biases everywhere. `drop_path`: the rate at which its branches are left out."""
    block = Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)
    if drop_path > 0:
        block.drop_path1, block.drop_path2 = DropPath(drop_path), DropPath(drop_path)
    return block


class CrossAttention(nn.Module):
    """Queries attend to a context; separate projections for queries, and for keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """(B, M, D), (B, L, D) -> (B, M, D)."""
        projected = (self.q(queries), *self.kv(context).chunk(2, dim=-1))
        q, k, v = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in projected)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class QueryBlock(nn.Module):
    """A block that computes some of its outputs only: those of `queries`, which are among the tokens `x`.

    Has the parameters of `make_block`, by the same names, and equals it followed by a selection. The tokens that nobody reads
    need no query, no projection and no MLP.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = LayerNorm(width)
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        """(B, L, D), (B, M, D) -> (B, M, D)."""
        width = queries.shape[-1]
        weight, bias = self.attn.qkv.weight, self.attn.qkv.bias
        q = F.linear(self.norm1(queries), weight[:width], bias[:width])
        k, v = F.linear(self.norm1(x), weight[width:], bias[width:]).chunk(2, dim=-1)
        q, k, v = (tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2) for tokens in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        queries = queries + self.attn.proj(attended)
        return queries + self.mlp(self.norm2(queries))


Init = Literal["xavier", "normal"]
"""How weights of linear layers are drawn: "xavier": uniformly, the fused qkv as one matrix (MAE); "normal": truncated normal of
standard deviation 0.02 (I-JEPA)."""


def init_linear_and_norm(module: nn.Module, init: Init = "xavier") -> None:
    """For `module.apply`: weights by `init`, zero biases, unit LayerNorm."""
    if isinstance(module, nn.Linear):
        if init == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison] - a layer may have none
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def require_heads_divide(width: int, heads: int) -> None:
    """Raise ConfigError if the heads cannot share the width."""
    if width % heads:
        raise ConfigError(f"width {width} is not divisible by heads {heads}")
