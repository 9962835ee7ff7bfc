"""The encoder: transformer blocks over the visible tokens only."""

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mae_core.interfaces import Encoder, Latent, Tokenizer, Visible
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat, Rate
from mae_core.parts.blocks import Init, LayerNorm, init_linear_and_norm, make_block, require_heads_divide


class ViTEncoder(Encoder):
    """A vision transformer without its patch embedding (He et al. 2022, section 3).

    Args:
        width, depth, heads: ViT-B 768, 12, 12; ViT-L 1024, 24, 16; ViT-H 1280, 32, 16.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
        class_token: prepend a learned token; it has no position.
        final_norm: normalise the latents after the last block.
        mask_tokens: encode all tokens, the hidden ones replaced by a learned mask token (Table 1c: slower and worse).
        drop_path: the rate at which, in training, the last block's branches are left out for a sample; it rises linearly over
            the blocks, from 0 at the first one. Fine-tuning of ViT-B has 0.1, of ViT-L 0.2, of ViT-H 0.3.
        init: weights of linear layers at the start: "xavier" draws them uniformly (MAE), "normal" from a truncated normal
            distribution of standard deviation 0.02 (I-JEPA).
    """

    def __init__(
        self,
        inputs: Mapping[str, Tokenizer],  # not used: tokens are embedded before
        *,
        width: Positive,
        depth: Depth,
        heads: Positive,
        mlp_ratio: PositiveFloat = 4.0,
        class_token: bool = True,
        final_norm: bool = True,
        mask_tokens: bool = False,
        drop_path: Rate = 0.0,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.width = self.token_width = width
        self.num_layers = depth
        self.num_prefix_tokens = int(class_token)
        self.returns_all = mask_tokens
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width)) if class_token else None
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width)) if mask_tokens else None
        rates = torch.linspace(0, drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(make_block(width, heads, mlp_ratio, drop_path=rate) for rate in rates)
        self.norm = LayerNorm(width) if final_norm else nn.Identity()
        self.apply(functools.partial(init_linear_and_norm, init=init))

    def forward(self, visible: Visible, *, layers: Sequence[int] = ()) -> Latent:
        """The class token, if there is one, comes first; layer i is the output of block i, layer 0 the first one's input."""
        x = visible.tokens() if self.mask_token is None else visible.all_tokens(self.mask_token)
        if self.cls_token is not None:
            position = visible.class_position()
            cls_token = self.cls_token if position is None else self.cls_token + position
            x = torch.cat([cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        outputs = {0: x}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in layers:
                outputs[number] = x
        wanted = {layer: outputs[layer] for layer in layers}
        return visible.latent(self.norm(x), num_prefix=self.num_prefix_tokens, everything=self.returns_all, layers=wanted)
