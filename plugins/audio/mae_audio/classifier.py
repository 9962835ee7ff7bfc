"""The fine-tuning model of the published Audio-MAE: the encoder, mean-pooled, with a linear head."""

import torch
from torch import Tensor, nn

from mae_core.interfaces import Grid, gather_patches
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.blocks import LayerNorm
from mae_core.parts.vit_encoder import ViTEncoder
from mae_registry import MaeError


class SpectrogramClassifier(nn.Module):
    """Tokenizer, positions and encoder of a pre-trained model (shared with it, not copied) and a new head.

    The mean of the patches' latents is normalised (the encoder's own last norm is not used) and classified. Initial weights
    of the head: normal, standard deviation 2e-5. Raises MaeError for an encoder without class token.
    """

    def __init__(self, pretrained: MaskedAutoencoder, num_classes: int) -> None:
        super().__init__()
        parts, encoder = pretrained.parts("audio"), pretrained.backbone.encoder
        if not isinstance(encoder, ViTEncoder) or encoder.cls_token is None:
            raise MaeError("this classifier needs a `vit` encoder with a class token (model.encoder.class_token=true)")
        self.tokenizer = parts.tokenizer
        self.positions = parts.positions
        self.cls_token = encoder.cls_token
        self.blocks = encoder.blocks
        self.fc_norm = LayerNorm(encoder.width)
        self.head = nn.Linear(encoder.width, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, ids_keep: Tensor | None = None) -> Tensor:
        """Normalised samples (B, 1, frames, mels) -> logits (B, num_classes).

        `ids_keep` (B, K) from `keep_times_and_frequencies`: the patches to look at, in training; default: all.
        """
        patches = self.tokenizer.patchify(x)
        if ids_keep is None:
            ids_keep = torch.arange(patches.shape[1], device=x.device).expand(len(x), -1)
        tokens = self.tokenizer.embed(gather_patches(patches, ids_keep), ids_keep) + self.positions(ids_keep)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.fc_norm(tokens[:, 1:].mean(dim=1)))


def keep_times_and_frequencies(grid: Grid, noise_t: Tensor, noise_f: Tensor, *, ratio_t: float, ratio_f: float) -> Tensor:
    """Ids (B, K) of the patches at the times and at the frequencies of lowest noise, (B, t) and (B, f).

    Of 64 times and 8 frequencies the published ratios of 0.2 and 0.2 keep 51 and 6, in the order of their noise.
    """
    num_t, num_f = int(grid["t"] * (1 - ratio_t)), int(grid["f"] * (1 - ratio_f))
    times = noise_t.argsort(dim=1, stable=True)[:, :num_t]
    frequencies = noise_f.argsort(dim=1, stable=True)[:, :num_f]
    return (times.unsqueeze(2) * grid["f"] + frequencies.unsqueeze(1)).flatten(1)
