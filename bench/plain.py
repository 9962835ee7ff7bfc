"""A masked autoencoder as one would first write it down, to compare with: it is only read by the benchmarks.

Every patch is embedded and then most of them are dropped, softmax is spelled out, the decoder puts its tokens in raster order,
all tokens go through all of its blocks, and every patch is predicted, whether the loss counts it or not.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.model.autoencoder import MaskedAutoencoder


class PlainAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class PlainMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = PlainAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = PlainMlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainMAE(nn.Module):
    """The same model as `model`, with the same weights: one modality, encoder and decoder `vit`."""

    def __init__(self, model: MaskedAutoencoder, entry: str, config: Any) -> None:
        super().__init__()
        parts = model.parts(entry)
        encoder, decoder = config["model.encoder"], config[f"model.modalities.{entry}.decoder"]
        self.sides = tuple(config[f"model.modalities.{entry}.tokenizer.patch_size"])
        self.by_channel = config[f"model.modalities.{entry}.target.name"] == "channel_pixels"
        dim = parts.tokenizer.patch_dim
        width, small = encoder["width"], decoder["width"]
        self.embed = nn.Linear(dim, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if encoder["class_token"] else None
        self.blocks = nn.ModuleList([PlainBlock(width, encoder["heads"], 4 * width) for _ in range(encoder["depth"])])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, small, bias=decoder["embed_bias"])
        self.mask_token = nn.Parameter(torch.zeros(1, 1, small))
        self.decoder_blocks = nn.ModuleList([PlainBlock(small, decoder["heads"], 4 * small) for _ in range(decoder["depth"])])
        self.decoder_norm = nn.LayerNorm(small, eps=1e-6)
        self.head = nn.Linear(small, dim)
        self.register_buffer("positions", parts.positions.table.clone())
        self.register_buffer("decoder_positions", parts.decoder.positions.table.clone())
        self.register_buffer("std", parts.tokenizer.std.flatten().clone())
        self._take_weights(model, entry)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Normalised samples (B, C, ...) and hidden (B, N) bool -> the loss."""
        patches = self.patchify(x)
        tokens = self.embed(patches) + self.positions
        kept = tokens[~hidden].reshape(len(x), -1, tokens.shape[-1])
        if self.cls_token is not None:
            kept = torch.cat([self.cls_token.expand(len(x), -1, -1), kept], dim=1)
        for block in self.blocks:
            kept = block(kept)
        latent = self.decoder_embed(self.norm(kept))
        prefix, latent = latent.split([latent.shape[1] - int((~hidden[0]).sum()), int((~hidden[0]).sum())], dim=1)
        order = hidden.int().argsort(dim=1, stable=True).argsort(dim=1)  # where each patch stands: the seen ones come first
        masked = self.mask_token.expand(len(x), hidden.shape[1] - latent.shape[1], -1).to(latent.dtype)
        raster = torch.cat([latent, masked], dim=1).gather(1, order[..., None].expand(-1, -1, latent.shape[-1]))
        decoded = torch.cat([prefix, raster + self.decoder_positions], dim=1)
        for block in self.decoder_blocks:
            decoded = block(decoded)
        pred = self.head(self.decoder_norm(decoded))[:, prefix.shape[1] :]
        errors = (pred - self.truth(patches)).square().mean(dim=-1)
        return (errors * hidden).sum() / hidden.sum()

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, *sizes) -> (B, N, P), the channels of a pixel next to each other."""
        batch, channels, *sizes = x.shape
        split = [number for size, side in zip(sizes, self.sides, strict=True) for number in (size // side, side)]
        axes = range(2, 2 + len(split))
        cut = x.reshape(batch, channels, *split).permute(0, *axes[::2], *axes[1::2], 1)
        return cut.flatten(1, len(sizes)).flatten(2)

    def truth(self, patches: Tensor) -> Tensor:
        """(B, N, P): each patch normalised by its own mean and deviation, or each of its channels."""
        if not self.by_channel:
            return (patches - patches.mean(dim=-1, keepdim=True)) / (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        values = patches.unflatten(-1, (-1, len(self.std))) * self.std
        normal = (values - values.mean(dim=-2, keepdim=True)) / (values.std(dim=-2, keepdim=True) + 1e-6)
        return normal.flatten(-2)

    def _take_weights(self, model: MaskedAutoencoder, entry: str) -> None:
        names = {
            f"backbone.inputs.{entry}.tokenizer.proj.": "embed.",
            "backbone.encoder.": "",
            f"modalities.{entry}.decoder.embed.": "decoder_embed.",
            f"modalities.{entry}.decoder.mask_token": "mask_token",
            f"modalities.{entry}.decoder.head.": "head.",
            f"modalities.{entry}.decoder.": "decoder_",
        }
        weights = {}
        for name, tensor in model.state_dict().items():
            ours, theirs = next(pair for pair in names.items() if name.startswith(pair[0]))
            weights[theirs + name.removeprefix(ours)] = tensor
        missing, unexpected = self.load_state_dict(weights, strict=False)
        assert not unexpected, unexpected
        assert set(missing) == {"positions", "decoder_positions", "std"}, missing
