"""A decoder whose queries look at the context of every modality by cross-attention (MultiMAE, Bachmann et al. 2022)."""

from collections.abc import Mapping

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Decoder, DecoderPlace, Extras, Latent, gather_patches
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_core.parts.blocks import CrossAttention, LayerNorm, init_linear_and_norm, make_block, require_heads_divide


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

    def __init__(
        self,
        place: DecoderPlace,
        *,
        width: Positive = 256,
        depth: Depth = 2,
        heads: Positive = 8,
        mlp_ratio: PositiveFloat = 4.0,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.entry = place.entry
        self.num_patches = {name: grid.num_patches for name, grid in place.grids.items()}
        self.positions = nn.ModuleDict({name: make(width) for name, make in place.make_positions.items()})
        self.task_embeddings = nn.ParameterDict({name: 0.02 * torch.randn(1, 1, width) for name in place.grids})
        self.embed = nn.Linear(place.context_width, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.query_norm, self.context_norm = LayerNorm(width), LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.out_norm = LayerNorm(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.blocks = nn.ModuleList(make_block(width, heads, mlp_ratio) for _ in range(depth))
        self.head = nn.Linear(width, place.out_dim)
        for module in self.children():
            if not isinstance(module, nn.ParameterDict) and module is not self.positions:
                module.apply(init_linear_and_norm)

    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """The latent of all modalities, (rows, M) -> (rows, M, T); with `everything` (rows, N, T)."""
        x = self.embed(latent.x)
        prefix, visible = x[:, : latent.num_prefix], x[:, latent.num_prefix :]
        places = self._places(extras, latent.ids.device).expand(len(x), -1, -1)
        context = visible + gather_patches(places, latent.ids)
        # unshuffled: every token of every modality, hidden ones as mask tokens; the own ones are the queries
        tokens = (self.mask_token + places).to(context.dtype)
        tokens = tokens.scatter(1, latent.ids.unsqueeze(-1).expand_as(context), context)
        queries = tokens.split(list(self.num_patches.values()), dim=1)[list(self.num_patches).index(self.entry)]
        x = self.attention(self.query_norm(queries), self.context_norm(torch.cat([context, prefix], dim=1)))
        x = x + self.mlp(self.out_norm(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x if everything else gather_patches(x, ids))

    def _places(self, extras: Mapping[str, Extras], device: torch.device) -> Tensor:
        """(1 or rows, N of all, W): position and modality of every token."""
        parts = []
        for name, positions in self.positions.items():
            ids = torch.arange(self.num_patches[name], device=device).unsqueeze(0)
            parts.append(positions(ids, extras.get(name, NO_EXTRAS)) + self.task_embeddings[name])
        num_rows = max(len(part) for part in parts)
        return torch.cat([part.expand(num_rows, -1, -1) for part in parts], dim=1)
