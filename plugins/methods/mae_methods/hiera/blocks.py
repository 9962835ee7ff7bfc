"""Blocks of Hiera: attention within mask units or between all tokens, and tokens that are pooled by their maximum.

rows: samples x contexts. V: visible mask units. L: tokens of each, in the order in which they are pooled (see `MaskUnits`).
"""

import torch.nn.functional as F
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.parts.blocks import LayerNorm


class UnitAttention(nn.Module):
    """Multi-head self-attention, whose queries may be pooled.

    Args:
        in_width, width: of its input and its output.
        heads: of the attention.
        num_pooled: how many queries are pooled to one; 1 for none.
        within_units: tokens attend to those of their own mask unit only.
    """

    def __init__(self, in_width: int, width: int, heads: int, *, num_pooled: int, within_units: bool) -> None:
        super().__init__()
        self.heads = heads
        self.num_pooled = num_pooled
        self.within_units = within_units
        self.qkv = nn.Linear(in_width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, V, L, in_width) -> (rows, V, L / num_pooled, width)."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        queries = pool(queries, self.num_pooled)
        together = (0, 1) if self.within_units else (1, 2)  # each unit is a row of its own, or all are one set
        q, k, v = (part.flatten(*together).transpose(1, 2) for part in (queries, keys, values))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(attended.reshape(*queries.shape[:3], -1))


class HieraBlock(nn.Module):
    """A pre-norm block. The first one of a stage changes the width, and may pool.

    Args: see `UnitAttention`.
    """

    def __init__(self, in_width: int, width: int, heads: int, *, mlp_ratio: float, num_pooled: int, within_units: bool) -> None:
        super().__init__()
        self.num_pooled = num_pooled
        self.norm1 = LayerNorm(in_width)
        self.attn = UnitAttention(in_width, width, heads, num_pooled=num_pooled, within_units=within_units)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.proj = nn.Linear(in_width, width) if in_width != width else None

    def forward(self, x: Tensor) -> Tensor:
        """(rows, V, L, in_width) -> (rows, V, L / num_pooled, width)."""
        normed = self.norm1(x)
        if self.proj is not None:
            x = pool(self.proj(normed), self.num_pooled)
        x = x + self.attn(normed)
        return x + self.mlp(self.norm2(x))


def pool(x: Tensor, num_pooled: int) -> Tensor:
    """(rows, V, L, ...) -> (rows, V, L / num_pooled, ...): the maximum of the tokens that lie together."""
    return x if num_pooled == 1 else x.unflatten(2, (num_pooled, -1)).max(dim=2).values  # one of equals has the gradient
