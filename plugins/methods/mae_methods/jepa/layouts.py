"""Names and shapes of I-JEPA's weights (Assran et al. 2023): context encoder, target encoder and predictor."""

from collections.abc import Mapping
from typing import ClassVar

from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, TableLayout

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
