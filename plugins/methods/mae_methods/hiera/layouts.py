"""Names and shapes of Hiera's released pre-training checkpoints."""

from dataclasses import replace
from typing import ClassVar

from torch import nn

from mae_core.layouts.table import DECODER, ENCODER, Convolution, PositionTable, Table, TableLayout
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


class HieraLayout(TableLayout):
    """A released checkpoint of Hiera for images, encoder and decoder."""

    modality = "image"
    names: ClassVar = NAMES
    positions: ClassVar = {ENCODER + "positions": PositionTable("pos_embed", class_rows=0), **DECODER_POSITIONS}
    convolutions: ClassVar = ()

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


def _encoder(model: nn.Module) -> HieraEncoder:
    backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
    encoder = backbone.encoder if isinstance(backbone, Backbone) else backbone
    if not isinstance(encoder, HieraEncoder):
        raise MaeError(f"this layout is for the encoder 'hiera', but the model has {type(encoder).__name__}")
    return encoder
