"""Names and shapes of data2vec 2.0's pre-training checkpoints for images."""

from collections.abc import Mapping
from typing import ClassVar

from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, TableLayout

IMAGE = "modality_encoders.IMAGE."
POSITIONS = IMAGE + "fixed_positional_encoder.positions"


class Data2VecLayout(TableLayout):
    """The student's weights, encoder and decoder. Those of the teacher have the same names but for the decoder's."""

    modality = "image"
    names: ClassVar[Mapping[str, str | None]] = {
        ENCODER + "extra_token": IMAGE + "extra_tokens",
        ENCODER + "norm.": IMAGE + "context_encoder.norm.",
        ENCODER + "prenet.": IMAGE + "context_encoder.blocks.",
        ENCODER + "blocks.": "blocks.",
        INPUT + "tokenizer.": IMAGE + "local_encoder.",
        DECODER + "blocks.": IMAGE + "decoder.blocks.",
        DECODER + "proj.": IMAGE + "decoder.proj.",
    }
    positions: ClassVar[Mapping[str, PositionTable]] = {INPUT + "positions": PositionTable(POSITIONS, class_rows=0)}
