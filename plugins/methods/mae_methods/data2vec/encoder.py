"""data2vec 2.0's encoder: transformer blocks that normalise behind each residual sum (Baevski et al. 2023, section 3)."""

import functools
from collections.abc import Mapping, Sequence

import torch
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.interfaces import Encoder, Latent, Tokenizer, Visible
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_core.parts.blocks import Init, LayerNorm, init_linear_and_norm, require_heads_divide
from mae_registry import ConfigError


class PostNormBlock(nn.Module):
    """Attention and an MLP, each added to its input and then normalised."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads, qkv_bias=True)
        self.norm1 = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.norm2 = LayerNorm(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, L, D) -> the block's output, and what its MLP gave before it was added, (rows, L, D) each."""
        x = self.norm1(x + self.attn(x))
        of_mlp = self.mlp(x)
        return self.norm2(x + of_mlp), of_mlp


class Data2VecEncoder(Encoder):
    """data2vec 2.0's transformer over the visible patches and an extra token.

    Its layer i is what the MLP of block i gives before it is added to the block's input, from which targets are made. Blocks
    are counted from 1, those of the prenet first; layer 0 is the first block's input.

    Args:
        width, depth, heads: as of any ViT; `depth` is the number of all blocks, those of the prenet included.
        prenet_depth: blocks that come first. They are computed as the others are, but published checkpoints keep them apart
            (those of the prenet belong to a modality), and no target is made from them.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        init: weights of linear layers at the start, as for the encoder `vit`.
    """

    num_prefix_tokens = 1

    def __init__(
        self,
        inputs: Mapping[str, Tokenizer],  # not used: tokens are embedded before
        *,
        width: Positive,
        depth: Depth,
        heads: Positive,
        prenet_depth: Positive = 2,
        mlp_ratio: PositiveFloat = 4.0,
        init: Init = "normal",
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        if prenet_depth >= depth:
            raise ConfigError(f"prenet_depth is {prenet_depth}, but there are only {depth} blocks in all (depth)")
        self.width = self.token_width = width
        self.num_layers = depth
        self.extra_token = nn.Parameter(torch.randn(1, 1, width))
        self.norm = LayerNorm(width)
        self.prenet = nn.ModuleList(PostNormBlock(width, heads, mlp_ratio) for _ in range(prenet_depth))
        self.blocks = nn.ModuleList(PostNormBlock(width, heads, mlp_ratio) for _ in range(depth - prenet_depth))
        self.apply(functools.partial(init_linear_and_norm, init=init))

    def forward(self, visible: Visible, *, layers: Sequence[int] = ()) -> Latent:
        """The extra token comes first; see the class for what the layers are."""
        x = visible.tokens()
        x = self.norm(torch.cat([self.extra_token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1))
        outputs = {0: x}
        for number, block in enumerate((*self.prenet, *self.blocks), start=1):
            x, of_mlp = block(x)
            if number in layers:
                outputs[number] = of_mlp
        wanted = {layer: outputs[layer] for layer in layers}
        return visible.latent(x, num_prefix=self.num_prefix_tokens, layers=wanted)

    def layer_of(self, name: str) -> int | None:
        """The extra token and the norm are before the first block; blocks are counted through the prenet and the others."""
        part, _, rest = name.partition(".")
        if part in ("extra_token", "norm"):
            return 0
        number = int(rest.partition(".")[0]) + 1
        return number if part == "prenet" else len(self.prenet) + number
