"""A decoder whose queries look at the context of every modality by cross-attention (MultiMAE, Bachmann et al. 2022)."""

from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.interfaces import Decoder, Grid, MakePositions, gather_patches
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm, make_block, require_heads_divide

Positive = Annotated[int, Field(ge=1)]


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


class CrossDecoder(Decoder):
    """One modality's patches from all modalities' visible tokens.

    Every token of the own modality is a query: a visible one its latent, a hidden one the mask token. They attend once to the
    visible tokens of all modalities (with positions and a learned embedding of their modality) and to the prefix tokens
    (without), with no residual around it; then to each other.

    Args:
        width, heads: of the decoder; MultiMAE's 256, 8.
        depth: self-attention blocks after the cross-attention.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
    """

    attends_to_all = True

    def __init__(
        self,
        context_width: int,
        out_dim: int,
        grid: Grid,
        make_positions: MakePositions,
        dense: bool,
        modality: str,
        every: Mapping[str, tuple[Grid, MakePositions]],
        *,
        width: Positive = 256,
        depth: Positive = 2,
        heads: Positive = 8,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.num_patches = {name: other.num_patches for name, (other, _) in every.items()}
        self.modality = modality
        self.positions = nn.ModuleDict({name: make(width) for name, (_, make) in every.items()})
        self.task_embeddings = nn.ParameterDict({name: 0.02 * torch.randn(1, 1, width) for name in every})
        self.embed = nn.Linear(context_width, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.query_norm, self.context_norm = LayerNorm(width), LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.out_norm = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.blocks = nn.ModuleList(make_block(width, heads, mlp_ratio) for _ in range(depth))
        self.head = nn.Linear(width, out_dim)
        for module in self.children():
            if not isinstance(module, nn.ParameterDict) and module is not self.positions:
                module.apply(init_linear_and_norm)

    def forward(
        self, latent: Tensor, ids_keep: Tensor, ids_predict: Tensor, *, num_prefix_tokens: int, predict_all: bool = False
    ) -> Tensor:
        """(B, prefix + K, D) and (B, K) of all modalities -> (B, M, T); with `predict_all` (B, N, T)."""
        x = self.embed(latent)
        prefix, visible = x[:, :num_prefix_tokens], x[:, num_prefix_tokens:]
        places = self._places(ids_keep.device)
        context = visible + places.expand(len(x), -1, -1).gather(1, ids_keep.unsqueeze(-1).expand_as(visible))
        # unshuffled: every token of every modality, hidden ones as mask tokens; the own ones are the queries
        tokens = (self.mask_token + places).expand(len(x), -1, -1).to(context.dtype)
        tokens = tokens.scatter(1, ids_keep.unsqueeze(-1).expand_as(context), context)
        queries = tokens.split(list(self.num_patches.values()), dim=1)[list(self.num_patches).index(self.modality)]
        x = self.attention(self.query_norm(queries), self.context_norm(torch.cat([context, prefix], dim=1)))
        x = x + self.mlp(self.out_norm(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x if predict_all else gather_patches(x, ids_predict))

    def _places(self, device: torch.device) -> Tensor:
        """(1, N of all, W): position and modality of every token."""
        parts = []
        for name, positions in self.positions.items():
            ids = torch.arange(self.num_patches[name], device=device).unsqueeze(0)
            parts.append(positions(ids) + self.task_embeddings[name])
        return torch.cat(parts, dim=1)
