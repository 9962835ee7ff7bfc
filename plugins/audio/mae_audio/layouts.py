"""Names and shapes of the published Audio-MAE checkpoints: pre-training, and the fine-tuning classifier."""

from typing import ClassVar

from torch import nn

from mae_audio.classifier import SpectrogramClassifier
from mae_audio.tokenizer import SpectrogramPatches
from mae_core.interfaces import Tokenizer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, Table, TableLayout
from mae_registry import MaeError


class AudioMaeLayout(TableLayout):
    """A pre-training checkpoint, encoder and decoder (of local windows, or the core's `vit` for the global one)."""

    modality = "audio"
    names: ClassVar = {
        ENCODER + "cls_token": "cls_token",
        ENCODER + "blocks.": "blocks.",
        ENCODER + "norm.": "norm.",
        INPUT + "tokenizer.": "patch_embed.",
        DECODER + "embed.": "decoder_embed.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": "decoder_blocks.",
        DECODER + "norm.": "decoder_norm.",
        DECODER + "head.": "decoder_pred.",
    }
    positions: ClassVar = {
        INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token"),
        DECODER + "positions": PositionTable("decoder_pos_embed"),
    }

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


class AudioMaeVitLayout(TableLayout):
    """A fine-tuned classifier, `SpectrogramClassifier`."""

    modality = "audio"
    names: ClassVar = {
        "cls_token": "cls_token",
        "blocks.": "blocks.",
        "fc_norm.": "fc_norm.",
        "head.": "head.",
        "tokenizer.": "patch_embed.",
    }
    positions: ClassVar = {"positions": PositionTable("pos_embed", class_token="cls_token")}
    tokenizer = "tokenizer"
    convolutions: ClassVar = ("tokenizer.proj.weight",)

    def table(self, model: nn.Module, entry: str) -> Table:
        """The table of a classifier alone."""
        if not isinstance(model, SpectrogramClassifier):
            raise MaeError(
                "layout 'audiomae_vit' is for fine-tuned classifiers (mae_audio.classifier.SpectrogramClassifier); that for "
                "pre-training is 'audiomae'"
            )
        return super().table(model, entry)

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


def _patch_size(tokenizer: Tokenizer) -> tuple[int, ...]:
    assert isinstance(tokenizer, SpectrogramPatches)
    return tuple(tokenizer.patch_size)
