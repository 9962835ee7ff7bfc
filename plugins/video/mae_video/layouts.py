"""Names and shapes of published video checkpoints: VideoMAE (V1 and V2) and MAE-ST."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mae_core.interfaces import Found
from mae_core.layouts.shapes import FAMILY_HEADS, has, patches, square_sides, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout

VIDEO = "model.modalities.video"
CLIP = [16, 224, 224]
"""Frames, height and width of the published models."""


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

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Positions are fixed and not stored, so that the size of clips cannot be seen."""
        marks = (
            "encoder.patch_embed.proj.weight",
            "encoder.blocks.0.attn.q_bias",
            "encoder_to_decoder.weight",
            "decoder.head.",
        )
        if not has(weights, *marks):
            return None
        encoder, decoder = transformer(weights, "encoder.blocks"), transformer(weights, "decoder.blocks")
        video = {"tokenizer": patches(weights["encoder.patch_embed.proj.weight"]), "decoder": decoder}
        assumed = {
            "model.encoder.heads": FAMILY_HEADS.get(encoder["width"]),
            f"{VIDEO}.decoder.heads": DECODER_HEADS.get(decoder["width"]),
            f"{VIDEO}.tokenizer.input_size": CLIP,
        }
        model = {"encoder": encoder, "modalities": {"video": video}}
        return Found("a VideoMAE (V1 or V2), encoder and decoder", "video/videomae_base", model, assumed)


DECODER_HEADS = {192: 3, 384: 6, 512: 8, 640: 8}
"""Of VideoMAE's published decoders, by their width."""
MAE_ST_DECODER_HEADS = {512: 16}


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

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Tables of places and of times say how large the grid is."""
        marks = ("pos_embed_spatial", "pos_embed_temporal", "pos_embed_class", "decoder_cls_token", "blocks.0.attn.q.weight")
        if not has(weights, *marks, "patch_embed.proj.weight", "decoder_blocks."):
            return None
        encoder, decoder = transformer(weights, "blocks"), transformer(weights, "decoder_blocks")
        tokenizer = patches(weights["patch_embed.proj.weight"])
        frames, *sides = tokenizer["patch_size"]
        square = square_sides(weights["pos_embed_spatial"].shape[1], sides)
        if square is None:
            return None
        num_frames = weights["pos_embed_temporal"].shape[1] * frames
        video: dict[str, Any] = {"tokenizer": {**tokenizer, "input_size": [num_frames, *square]}, "decoder": decoder}
        values = weights["decoder_pred.weight"].shape[0]
        video["target"] = {"num_frames": num_frames * values // (frames * tokenizer["channels"] * sides[0] * sides[1])}
        assumed = {
            "model.encoder.heads": FAMILY_HEADS.get(encoder["width"]),
            f"{VIDEO}.decoder.heads": MAE_ST_DECODER_HEADS.get(decoder["width"]),
        }
        model = {"encoder": encoder, "modalities": {"video": video}}
        return Found("an MAE-ST, encoder and decoder", "video/mae_st_base", model, assumed)
