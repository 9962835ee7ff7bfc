"""Names and shapes of the published Audio-MAE checkpoints: pre-training, and the fine-tuning classifier."""

from typing import ClassVar

from mae_audio.tokenizer import SpectrogramPatches
from mae_core.interfaces import Tokenizer
from mae_core.layouts.classifier import ClassifierLayout
from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, TableLayout

ENCODER_NAMES = {
    ENCODER + "cls_token": "cls_token",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "norm.": "norm.",
    INPUT + "tokenizer.": "patch_embed.",
}
ENCODER_POSITIONS = {INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token")}


class AudioMaeLayout(TableLayout):
    """A pre-training checkpoint, encoder and decoder (of local windows, or the core's `vit` for the global one)."""

    modality = "audio"
    names: ClassVar = {
        **ENCODER_NAMES,
        DECODER + "embed.": "decoder_embed.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": "decoder_blocks.",
        DECODER + "norm.": "decoder_norm.",
        DECODER + "head.": "decoder_pred.",
    }
    positions: ClassVar = {
        **ENCODER_POSITIONS,
        DECODER + "positions": PositionTable("decoder_pos_embed"),
    }

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


class AudioMaeVitLayout(ClassifierLayout):
    """A classifier that the published Audio-MAE has fine-tuned."""

    modality = "audio"
    names: ClassVar = ENCODER_NAMES
    positions: ClassVar = ENCODER_POSITIONS

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


def _patch_size(tokenizer: Tokenizer) -> tuple[int, ...]:
    assert isinstance(tokenizer, SpectrogramPatches)
    return tuple(tokenizer.patch_size)
