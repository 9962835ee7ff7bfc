"""Names and shapes of published image checkpoints: MAE's own, and timm's VisionTransformer."""

from typing import ClassVar

from mae_core.layouts.classifier import ClassifierLayout
from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, TableLayout

ENCODER_NAMES = {
    ENCODER + "cls_token": "cls_token",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "norm.": "norm.",
    INPUT + "tokenizer.": "patch_embed.",
}
ENCODER_POSITIONS = {INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token")}


class TimmLayout(TableLayout):
    """timm's VisionTransformer, which is also the encoder part of a published MAE checkpoint."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS


class MaeVitLayout(ClassifierLayout):
    """A classifier that the published MAE has fine-tuned, or trained as a linear probe."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS


class MaeLayout(TableLayout):
    """A published MAE pre-training checkpoint, encoder and decoder."""

    modality = "image"
    names: ClassVar = {
        **ENCODER_NAMES,
        DECODER + "embed.": "decoder_embed.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": "decoder_blocks.",
        DECODER + "norm.": "decoder_norm.",
        DECODER + "head.": "decoder_pred.",
    }
    positions: ClassVar = {**ENCODER_POSITIONS, DECODER + "positions": PositionTable("decoder_pos_embed")}
    encoder_layout = "timm"
