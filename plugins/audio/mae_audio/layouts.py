"""Names and shapes of the published Audio-MAE checkpoints: pre-training, and the fine-tuning classifier."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mae_audio.tokenizer import SpectrogramPatches
from mae_core.interfaces import Found, Tokenizer
from mae_core.layouts.classifier import ClassifierLayout
from mae_core.layouts.shapes import FAMILY_HEADS, has, transformer
from mae_core.layouts.table import TableLayout
from mae_core.layouts.vit import DECODER_NAMES, DECODER_POSITIONS, ENCODER_NAMES, ENCODER_POSITIONS

ENCODER_PARTS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")
MEL_BINS = 128
"""Of the published spectrograms."""


class AudioMaeLayout(TableLayout):
    """A pre-training checkpoint, encoder and decoder (of local windows, or the core's `vit` for the global one)."""

    modality = "audio"
    names: ClassVar = {
        **ENCODER_NAMES,
        **DECODER_NAMES,
    }
    positions: ClassVar = {
        **ENCODER_POSITIONS,
        **DECODER_POSITIONS,
    }

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """The published decoder of local windows, or none; spectrograms of the published number of mel bins."""
        tokenizer = _tokenizer(weights) if has(weights, *ENCODER_PARTS, "norm.weight") else None
        if tokenizer is None:
            return None
        encoder = transformer(weights, "blocks")
        assumed = {"model.encoder.heads": FAMILY_HEADS.get(encoder["width"])}
        if not has(weights, "decoder_embed."):
            model = {"encoder": encoder, "modalities": {"audio": {"tokenizer": tokenizer}}}
            return Found("the encoder of an Audio-MAE", "audio/audiomae_base", model, assumed, complete=False)
        if not has(weights, "decoder_blocks.0.attn.tau", "decoder_pred."):
            return None
        decoder = transformer(weights, "decoder_blocks")
        decoder["heads"] = weights["decoder_blocks.0.attn.tau"].numel()
        model = {"encoder": encoder, "modalities": {"audio": {"tokenizer": tokenizer, "decoder": decoder}}}
        return Found("an Audio-MAE, encoder and decoder", "audio/audiomae_base", model, assumed)

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


class AudioMaeVitLayout(ClassifierLayout):
    """A classifier that the published Audio-MAE has fine-tuned."""

    modality = "audio"
    names: ClassVar = ENCODER_NAMES
    positions: ClassVar = ENCODER_POSITIONS

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """The backbone of a classifier of spectrograms of the published number of mel bins."""
        tokenizer = _tokenizer(weights) if has(weights, *ENCODER_PARTS, "fc_norm.") else None
        if tokenizer is None or has(weights, "norm.weight"):
            return None
        encoder = {**transformer(weights, "blocks"), "final_norm": False}
        audio = {"tokenizer": tokenizer, "positions": {"name": "learned", "class_token": True}}
        assumed = {"model.encoder.heads": FAMILY_HEADS.get(encoder["width"])}
        model = {"encoder": encoder, "modalities": {"audio": audio}}
        title = "the encoder of a classifier fine-tuned from an Audio-MAE"
        if has(weights, "head."):
            title += " (its head is left out)"
        return Found(title, "audio/audiomae_base", model, assumed, complete=False)

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Frames and mel bins; patches may overlap."""
        return _patch_size(tokenizer)


def _tokenizer(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The sizes of patches and spectrograms; None where patches are not those of one channel and the published mel bins."""
    convolution = weights["patch_embed.proj.weight"]
    if convolution.ndim != 4 or convolution.shape[1] != 1:
        return None
    frames, bins = convolution.shape[2:]
    num_times, left = divmod(weights["pos_embed"].shape[1] - 1, MEL_BINS // bins)
    return None if left else {"patch_size": [frames, bins], "input_size": [num_times * frames, MEL_BINS]}


def _patch_size(tokenizer: Tokenizer) -> tuple[int, ...]:
    assert isinstance(tokenizer, SpectrogramPatches)
    return tuple(tokenizer.patch_size)
