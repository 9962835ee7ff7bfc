"""Names and shapes of data2vec 2.0's pre-training checkpoints for images."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mae_core.interfaces import Found
from mae_core.layouts.forms import PositionTable
from mae_core.layouts.shapes import FAMILY_HEADS, depth, has, patches, square_sides, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout

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

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples."""
        context, convolution = f"{IMAGE}context_encoder.blocks", f"{IMAGE}decoder.blocks.0.0.weight"
        if not has(weights, POSITIONS, f"{context}.", "blocks.0.attn.qkv.weight", convolution):
            return None
        encoder, prenet_depth, first = transformer(weights, "blocks"), depth(weights, context), weights[convolution]
        tokenizer = patches(weights[f"{IMAGE}local_encoder.proj.weight"])
        sides = square_sides(weights[POSITIONS].shape[1], tokenizer["patch_size"])
        if sides is None:
            return None
        decoder = {"width": first.shape[0], "depth": depth(weights, f"{IMAGE}decoder.blocks"), "kernel": first.shape[2]}
        decoder["groups"] = encoder["width"] // first.shape[1]
        image = {"tokenizer": {**tokenizer, "input_size": sides}, "decoder": decoder}
        image["target"] = {"top": encoder["depth"]}
        encoder |= {"depth": prenet_depth + encoder["depth"], "prenet_depth": prenet_depth}
        assumed = {"model.encoder.heads": FAMILY_HEADS.get(encoder["width"])}
        model = {"encoder": encoder, "modalities": {"image": image}}
        return Found("a data2vec 2.0 of images, encoder and decoder", "methods/data2vec_vit_base", model, assumed)
