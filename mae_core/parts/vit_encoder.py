"""The encoder: transformer blocks over the visible tokens only."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import Encoder
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm, make_block, require_heads_divide

Positive = Annotated[int, Field(ge=1)]


class ViTEncoder(Encoder):
    """A vision transformer without its patch embedding (He et al. 2022, section 3).

    Args:
        width, depth, heads: ViT-B 768, 12, 12; ViT-L 1024, 24, 16; ViT-H 1280, 32, 16.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        class_token: prepend a learned token; it has no position.
        final_norm: normalise the latents after the last block.
        mask_tokens: encode all tokens, the hidden ones replaced by a learned mask token (Table 1c: slower and worse).
    """

    def __init__(
        self,
        *,
        width: Positive,
        depth: Positive,
        heads: Positive,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
        class_token: bool = True,
        final_norm: bool = True,
        mask_tokens: bool = False,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.width = width
        self.num_prefix_tokens = int(class_token)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width)) if class_token else None
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width)) if mask_tokens else None
        self.blocks = nn.ModuleList(make_block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = LayerNorm(width) if final_norm else nn.Identity()
        self.apply(init_linear_and_norm)

    def forward(self, tokens: Tensor, class_position: Tensor | None = None) -> Tensor:
        """(B, K, D) -> (B, 1 + K, D), the class token first; (B, K, D) without one."""
        x = tokens
        if self.cls_token is not None:
            cls_token = self.cls_token if class_position is None else self.cls_token + class_position
            x = torch.cat([cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
