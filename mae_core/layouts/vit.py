"""The names of the vision transformers that the MAE family publishes: timm's for the encoder, MAE's own for the decoder."""

from mae_core.layouts.forms import PositionTable
from mae_core.layouts.table import DECODER, ENCODER, INPUT

ENCODER_NAMES = {
    ENCODER + "cls_token": "cls_token",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "norm.": "norm.",
    INPUT + "tokenizer.": "patch_embed.",
}
ENCODER_POSITIONS = {INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token")}
DECODER_NAMES = {
    DECODER + "embed.": "decoder_embed.",
    DECODER + "mask_token": "mask_token",
    DECODER + "blocks.": "decoder_blocks.",
    DECODER + "norm.": "decoder_norm.",
    DECODER + "head.": "decoder_pred.",
}
DECODER_POSITIONS = {DECODER + "positions": PositionTable("decoder_pos_embed")}
