"""Transformer blocks of encoder and decoder: timm's, with the published LayerNorm and initialisation."""

from functools import partial

import torch.nn.functional as F  # noqa: N812
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_registry import ConfigError

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


def make_block(width: int, heads: int, mlp_ratio: float) -> Block:
    """A pre-norm self-attention block with biases everywhere."""
    return Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)


class QueryBlock(Block):
    """A block that computes some of its outputs only: those of `queries`, which are among the tokens `x`.

    Equal to the whole block followed by a selection; the tokens that nobody reads need no query, no projection and no MLP.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(width, heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)

    def forward(self, x: Tensor, queries: Tensor) -> Tensor:
        """(B, L, D), (B, M, D) -> (B, M, D)."""
        width, heads = queries.shape[-1], self.attn.num_heads
        weight, bias = self.attn.qkv.weight, self.attn.qkv.bias
        q = F.linear(self.norm1(queries), weight[:width], bias[:width])
        k, v = F.linear(self.norm1(x), weight[width:], bias[width:]).chunk(2, dim=-1)
        q, k, v = (tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        queries = queries + self.attn.proj(attended)
        return queries + self.mlp(self.norm2(queries))


def init_linear_and_norm(module: nn.Module) -> None:
    """For `module.apply`: Xavier-uniform weights (the fused qkv as one matrix), zero biases, unit LayerNorm."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def require_heads_divide(width: int, heads: int) -> None:
    """Raise ConfigError if the heads cannot share the width."""
    if width % heads:
        raise ConfigError(f"width {width} is not divisible by heads {heads}")
