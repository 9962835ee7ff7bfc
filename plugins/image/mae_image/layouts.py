"""Names and shapes of published image checkpoints: MAE's own, and timm's VisionTransformer."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mae_core.interfaces import Found, Grid
from mae_core.layouts.classifier import ClassifierLayout
from mae_core.layouts.shapes import FAMILY_HEADS, has, patches, rounding, square_sides, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, TableLayout
from mae_core.parts.positions import sincos_table
from mae_image.tokenizer import IMAGENET_MEAN, IMAGENET_STD

RECIPE = "image/mae_vit_base"
TOKENIZER = "model.modalities.image.tokenizer"
TARGET = "model.modalities.image.target"
ENCODER_PARTS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "blocks.0.attn.qkv.bias")
DECODER_PARTS = ("decoder_embed.", "mask_token", "decoder_pos_embed", "decoder_blocks.0.attn.qkv.weight", "decoder_pred.weight")

ENCODER_NAMES = {
    ENCODER + "cls_token": "cls_token",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "norm.": "norm.",
    INPUT + "tokenizer.": "patch_embed.",
}
ENCODER_POSITIONS = {INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token")}


class TimmLayout(TableLayout):
    """timm's VisionTransformer, which is also the encoder part of a published MAE checkpoint."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS
    left_out: ClassVar = ("head.",)

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples of the published family; a `config.json` of timm's says how they are normalised."""
        if not has(weights, *ENCODER_PARTS, "norm.weight") or has(weights, "decoder_embed."):
            return None
        sizes = encoder_sizes(weights)
        if sizes is None:
            return None
        encoder, image = sizes
        about = beside.get("config.json", {}).get("pretrained_cfg", {})
        assumed = {"model.encoder.heads": _heads_said(beside) or FAMILY_HEADS.get(encoder["width"])}
        if "mean" in about and "std" in about:
            image["tokenizer"] |= {"mean": list(about["mean"]), "std": list(about["std"])}
        elif "mean" not in image["tokenizer"]:
            assumed |= {f"{TOKENIZER}.mean": list(IMAGENET_MEAN), f"{TOKENIZER}.std": list(IMAGENET_STD)}
        model = {"encoder": encoder, "modalities": {"image": image}}
        title = "the encoder of an MAE, or a VisionTransformer of timm"
        if has(weights, "head."):
            title += " (its classifier is left out)"
        return Found(title, RECIPE, model, assumed, complete=False)


class MaeVitLayout(ClassifierLayout):
    """A classifier that the published MAE has fine-tuned, or trained as a linear probe."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS


class MaeLayout(TableLayout):
    """A published MAE pre-training checkpoint, encoder and decoder."""

    modality = "image"
    names: ClassVar = {
        **ENCODER_NAMES,
        DECODER + "embed.": "decoder_embed.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": "decoder_blocks.",
        DECODER + "norm.": "decoder_norm.",
        DECODER + "head.": "decoder_pred.",
    }
    positions: ClassVar = {**ENCODER_POSITIONS, DECODER + "positions": PositionTable("decoder_pos_embed")}
    encoder_layout = "timm"

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples; whether targets were normalised cannot be seen."""
        if not has(weights, *ENCODER_PARTS, *DECODER_PARTS):
            return None
        sizes = encoder_sizes(weights)
        if sizes is None:
            return None
        encoder, image = sizes
        decoder = transformer(weights, "decoder_blocks")
        image["decoder"] = decoder
        assumed = {
            "model.encoder.heads": FAMILY_HEADS.get(encoder["width"]),
            "model.modalities.image.decoder.heads": DECODER_HEADS.get(decoder["width"]),
            f"{TARGET}.normalize": "patch",
        }
        model = {"encoder": encoder, "modalities": {"image": image}}
        return Found("an MAE (He et al. 2022), encoder and decoder", RECIPE, model, assumed)


DECODER_HEADS = {512: 16}
"""Of the published decoders, by their width."""


def encoder_sizes(weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The sections `encoder` and `modalities.image` of a recipe; None where the table of positions is not one of squares."""
    encoder = transformer(weights, "blocks")
    image = image_parts(weights["pos_embed"], weights["patch_embed.proj.weight"], encoder["width"])
    return None if image is None else (encoder, image)


def image_parts(table: Tensor, convolution: Tensor, width: int) -> dict[str, Any] | None:
    """The section `modalities.image` of a recipe, as the table of positions (1, 1 + N, D) and the embedding show it."""
    tokenizer = patches(convolution)
    if convolution.ndim != 4 or table.ndim != 3 or table.shape[-1] != width:
        return None
    sides = square_sides(table.shape[1] - 1, tokenizer["patch_size"])
    if sides is None:
        return None
    grid = [side // length for side, length in zip(sides, tokenizer["patch_size"], strict=True)]
    positions = {"name": "sincos" if is_sincos(table[0, 1:], Grid(h=grid[0], w=grid[1])) else "learned"}
    return {"tokenizer": {**tokenizer, "input_size": sides}, "positions": positions}


def is_sincos(table: Tensor, grid: Grid) -> bool:
    """Whether a table of positions, (N, D), is the fixed one of this grid, as far as its type can say it."""
    expected = sincos_table(grid, table.shape[1])
    return table.shape == expected.shape and bool((table.float() - expected).abs().max() <= rounding(table))


def _heads_said(beside: Mapping[str, Any]) -> int | None:
    """The heads that the arguments of a timm model state."""
    return beside.get("config.json", {}).get("model_args", {}).get("num_heads")
