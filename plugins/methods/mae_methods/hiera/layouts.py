"""Names and shapes of Hiera's released pre-training checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Found
from mae_core.layouts.forms import Convolution, PositionTable
from mae_core.layouts.shapes import depth, has, mlp_ratio, transformer
from mae_core.layouts.table import DECODER, ENCODER, Table, TableLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_methods.hiera.encoder import HieraEncoder
from mae_registry import MaeError

NAMES = {
    ENCODER + "embed.": "patch_embed.proj.",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "fusion.": "multi_scale_fusion_heads.",
    ENCODER + "norm.": "encoder_norm.",
    DECODER + "embed.": "decoder_embed.",
    DECODER + "mask_token": "mask_token",
    DECODER + "blocks.": "decoder_blocks.",
    DECODER + "norm.": "decoder_norm.",
    DECODER + "head.": "decoder_pred.",
}
DECODER_POSITIONS = {DECODER + "positions": PositionTable("decoder_pos_embed", class_rows=0)}

MARKS = ("patch_embed.proj.weight", "blocks.0.mlp.", "multi_scale_fusion_heads.0.weight", "encoder_norm.")
HEADS = {96: 1, 112: 2, 144: 2, 256: 4}
"""The published encoders' heads of the first stage, by its width."""
DECODER_HEADS = {512: 16}
STRIDES = {2: [4, 4], 3: [2, 4, 4]}
"""Of the published embeddings, by the number of axes: a kernel does not show it."""
MASK_UNITS = {2: [8, 8], 3: [1, 8, 8]}


class HieraLayout(TableLayout):
    """A released checkpoint of Hiera for images, encoder and decoder."""

    modality = "image"
    names: ClassVar = NAMES
    positions: ClassVar = {ENCODER + "positions": PositionTable("pos_embed", class_rows=0), **DECODER_POSITIONS}
    convolutions: ClassVar = ()

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples of the published strides and mask units."""
        if not has(weights, *MARKS, "pos_embed"):
            return None
        side = math.isqrt(weights["pos_embed"].shape[1])
        if side**2 != weights["pos_embed"].shape[1]:
            return None
        return _found("a Hiera of images", "methods/hiera_base", weights, "image", [side, side])

    def table(self, model: nn.Module, entry: str) -> Table:
        """The heads that fuse stages are published as convolutions over the tokens of a patch."""
        encoder = _encoder(model)
        forms = {f"{ENCODER}fusion.{number}.weight": Convolution(sides) for number, sides in enumerate(encoder.fused_sides)}
        return replace(super().table(model, entry), forms=forms)


class HieraVideoLayout(HieraLayout):
    """A released checkpoint of Hiera for videos, whose encoder has separable positions."""

    modality = "video"
    names: ClassVar = {
        **NAMES,
        ENCODER + "positions.spatial": "pos_embed_spatial",
        ENCODER + "positions.temporal": "pos_embed_temporal",
    }
    positions: ClassVar = DECODER_POSITIONS

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square frames of the published strides and mask units."""
        if not has(weights, *MARKS, "pos_embed_spatial", "pos_embed_temporal"):
            return None
        num_places, num_times = weights["pos_embed_spatial"].shape[1], weights["pos_embed_temporal"].shape[1]
        side = math.isqrt(num_places)
        if side**2 != num_places:
            return None
        grid = [num_times, side, side]
        return _found("a Hiera of videos", "methods/hiera_video_base", weights, "video", grid)


def _encoder(model: nn.Module) -> HieraEncoder:
    backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
    encoder = backbone.encoder if isinstance(backbone, Backbone) else backbone
    if not isinstance(encoder, HieraEncoder):
        raise MaeError(f"this layout is for the encoder 'hiera', but the model has {type(encoder).__name__}")
    return encoder


def _found(title: str, recipe: str, weights: Mapping[str, Tensor], entry: str, grid: list[int]) -> Found | None:
    """`grid`: the finest tokens along each axis of a sample."""
    convolution = weights["patch_embed.proj.weight"]
    width, channels, *kernel = convolution.shape
    if len(kernel) != len(grid):
        return None
    stride, num_blocks = STRIDES[len(kernel)], depth(weights, "blocks")
    firsts = [0, *(number for number in range(num_blocks) if f"blocks.{number}.proj.weight" in weights)]
    finest = list(weights["multi_scale_fusion_heads.0.weight"].shape[2:])  # the tokens of a patch
    encoder = {
        "width": width,
        "depths": [after - first for first, after in zip(firsts, [*firsts[1:], num_blocks], strict=True)],
        "kernel": kernel,
        "mlp_ratio": mlp_ratio(weights["blocks.0.mlp.fc1.weight"].shape[0], width),
    }
    tokenizer = {
        "patch_size": [step * tokens for step, tokens in zip(stride, finest, strict=True)],
        "input_size": [step * tokens for step, tokens in zip(stride, grid, strict=True)],
        "channels": channels,
    }
    assumed: dict[str, Any] = {
        "model.encoder.heads": HEADS.get(width),
        "model.encoder.stride": stride,
        "model.encoder.mask_unit": MASK_UNITS[len(kernel)],
    }
    if not has(weights, "decoder_blocks."):
        model = {"encoder": encoder, "modalities": {entry: {"tokenizer": tokenizer}}}
        return Found(f"the encoder of {title}", recipe, model, assumed, complete=False)
    decoder = transformer(weights, "decoder_blocks")
    assumed[f"model.modalities.{entry}.decoder.heads"] = DECODER_HEADS.get(decoder["width"])
    model = {"encoder": encoder, "modalities": {entry: {"tokenizer": tokenizer, "decoder": decoder}}}
    return Found(f"{title}, encoder and decoder", recipe, model, assumed)
