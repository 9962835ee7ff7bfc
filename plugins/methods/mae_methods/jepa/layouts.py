"""Names and shapes of I-JEPA's weights (Assran et al. 2023): context encoder, target encoder and predictor."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mae_core.interfaces import Found
from mae_core.layouts.forms import PositionTable
from mae_core.layouts.shapes import FAMILY_HEADS, has, patches, square_sides, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout

TEACHER = "teachers.0."
TEACHER_INPUT = TEACHER + "inputs.{entry}."


class JepaLayout(TableLayout):
    """The three state dicts of a training, each under its name: encoder.NAME, target_encoder.NAME, predictor.NAME.

    The target encoder is the model's teacher. A backbone alone takes the context encoder.
    """

    modality = "image"
    names: ClassVar[Mapping[str, str | None]] = {
        ENCODER: "encoder.",
        INPUT + "tokenizer.": "encoder.patch_embed.",
        TEACHER + "encoder.": "target_encoder.",
        TEACHER_INPUT + "tokenizer.": "target_encoder.patch_embed.",
        DECODER + "embed.": "predictor.predictor_embed.",
        DECODER + "mask_token": "predictor.mask_token",
        DECODER + "blocks.": "predictor.predictor_blocks.",
        DECODER + "norm.": "predictor.predictor_norm.",
        DECODER + "head.": "predictor.predictor_proj.",
    }
    positions: ClassVar[Mapping[str, PositionTable]] = {
        INPUT + "positions": PositionTable("encoder.pos_embed", class_rows=0),
        TEACHER_INPUT + "positions": PositionTable("target_encoder.pos_embed", class_rows=0),
        DECODER + "positions": PositionTable("predictor.predictor_pos_embed", class_rows=0),
    }
    convolutions = (INPUT + "tokenizer.proj.weight", TEACHER_INPUT + "tokenizer.proj.weight")

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples. The predictor has as many heads as the encoder."""
        marks = ("encoder.pos_embed", "encoder.blocks.", "target_encoder.blocks.", "predictor.predictor_blocks.")
        if not has(weights, *marks):
            return None
        encoder, decoder = transformer(weights, "encoder.blocks"), transformer(weights, "predictor.predictor_blocks")
        tokenizer = patches(weights["encoder.patch_embed.proj.weight"])
        sides = square_sides(weights["encoder.pos_embed"].shape[1], tokenizer["patch_size"])
        if sides is None:
            return None
        image = {"tokenizer": {**tokenizer, "input_size": sides}, "decoder": decoder}
        heads = FAMILY_HEADS.get(encoder["width"])
        assumed = {"model.encoder.heads": heads, "model.modalities.image.decoder.heads": heads}
        model = {"encoder": encoder, "modalities": {"image": image}}
        return Found("an I-JEPA: encoder, target encoder and predictor", "methods/jepa_vit_base", model, assumed)
