"""Heads: what is read from a latent."""

from typing import Literal

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.interfaces import Head, Latent
from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_core.parts.blocks import CrossAttention, LayerNorm, init_linear_and_norm, require_heads_divide
from mae_registry import MaeError

Norm = Literal["layer", "batch", "none"]


class LinearHead(Head):
    """One linear layer over one vector a sample.

    Args:
        pool: the mean of the patches' tokens, or the class token.
        norm: what normalises the vector first: "layer", a LayerNorm, as in fine-tuning with mean pooling; "batch", a BatchNorm
            without weights of its own, as in linear probing; "none". In training, "batch" normalises by the samples that go
            through the device at once, so that `train.device_batch_size` is more than a matter of speed.
        init_std: standard deviation of the layer's normally distributed weights at the start. Published are 2e-5 for
            fine-tuning, 0.01 for linear probing.
    """

    def __init__(
        self,
        width: int,
        num_outputs: int,
        *,
        pool: Literal["mean", "cls"] = "mean",
        norm: Norm = "layer",
        init_std: PositiveFloat = 2e-5,
    ) -> None:
        super().__init__()
        self.pool: Literal["mean", "cls"] = pool
        self.norm = _make_norm(norm, width)
        self.linear = _make_linear(width, num_outputs, std=init_std)

    def forward(self, latent: Latent) -> Tensor:
        """(rows, num_outputs)."""
        pooled = latent.pooled(self.pool)
        if self.training and isinstance(self.norm, nn.BatchNorm1d) and len(pooled) == 1:
            raise MaeError("a head with norm 'batch' cannot be trained on one sample at a time; raise train.device_batch_size")
        return self.linear(self.norm(pooled))


class AttentiveHead(Head):
    """A learned query attends to all tokens through one transformer block; a linear layer reads the result (V-JEPA's probe).

    Args:
        heads: of the attention; they must divide the encoder's width.
        mlp_ratio: hidden width of the block's MLP, as a multiple of the encoder's width.
        init_std: standard deviation of the linear layer's normally distributed weights at the start.
    """

    def __init__(
        self,
        width: int,
        num_outputs: int,
        *,
        heads: Positive = 16,
        mlp_ratio: PositiveFloat = 4.0,
        init_std: PositiveFloat = 0.02,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.norm1 = LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.apply(init_linear_and_norm)
        self.linear = _make_linear(width, num_outputs, std=init_std)

    def forward(self, latent: Latent) -> Tensor:
        """(rows, num_outputs)."""
        query = self.query.expand(len(latent.x), -1, -1)
        query = query + self.attention(query, self.norm1(latent.x))
        query = query + self.mlp(self.norm2(query))
        return self.linear(query[:, 0])


def _make_norm(kind: Norm, width: int) -> nn.Module:
    match kind:
        case "layer":
            return LayerNorm(width)
        case "batch":
            return nn.BatchNorm1d(width, affine=False, eps=1e-6)
        case "none":
            return nn.Identity()


def _make_linear(width: int, num_outputs: int, *, std: float) -> nn.Linear:
    linear = nn.Linear(width, num_outputs)
    nn.init.trunc_normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear
