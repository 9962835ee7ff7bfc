"""Names and shapes of published video checkpoints: VideoMAE (V1 and V2) and MAE-ST."""

from typing import ClassVar

from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout


class VideoMaeLayout(TableLayout):
    """A published VideoMAE or VideoMAE V2 pre-training checkpoint.

    Its attention has no bias of the keys. Ours is zero on import, and left out on export: softmax ignores it, so that the
    predictions are the same whatever it is.
    """

    modality = "video"
    names: ClassVar = {
        ENCODER + "blocks.": "encoder.blocks.",
        ENCODER + "norm.": "encoder.norm.",
        INPUT + "tokenizer.": "encoder.patch_embed.",
        DECODER + "embed.": "encoder_to_decoder.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": "decoder.blocks.",
        DECODER + "norm.": "decoder.norm.",
        DECODER + "head.": "decoder.head.",
    }
    pieces: ClassVar = {"attn.qkv.bias": ("attn.q_bias", None, "attn.v_bias")}


class MaeStLayout(TableLayout):
    """A published MAE-ST pre-training checkpoint. Query, key and value projections are apart."""

    modality = "video"
    names: ClassVar = {
        ENCODER + "cls_token": "cls_token",
        ENCODER + "blocks.": "blocks.",
        ENCODER + "norm.": "norm.",
        INPUT + "tokenizer.": "patch_embed.",
        INPUT + "positions.of_class_token": "pos_embed_class",
        INPUT + "positions.temporal": "pos_embed_temporal",
        INPUT + "positions.spatial": "pos_embed_spatial",
        DECODER + "cls_token": "decoder_cls_token",
        DECODER + "mask_token": "mask_token",
        DECODER + "embed.": "decoder_embed.",
        DECODER + "blocks.": "decoder_blocks.",
        DECODER + "norm.": "decoder_norm.",
        DECODER + "head.": "decoder_pred.",
        DECODER + "positions.of_class_token": "decoder_pos_embed_class",
        DECODER + "positions.temporal": "decoder_pos_embed_temporal",
        DECODER + "positions.spatial": "decoder_pos_embed_spatial",
    }
    pieces: ClassVar = {
        f"attn.qkv.{kind}": tuple(f"attn.{projection}.{kind}" for projection in "qkv") for kind in ("weight", "bias")
    }
