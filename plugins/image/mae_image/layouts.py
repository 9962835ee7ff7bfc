"""Names and shapes of published image checkpoints: MAE's own, and timm's VisionTransformer."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from mae_core.interfaces import Found, Grid
from mae_core.layouts.classifier import ClassifierLayout
from mae_core.layouts.hugging_face import described as describe_blocks
from mae_core.layouts.hugging_face import values_of
from mae_core.layouts.shapes import FAMILY_HEADS, has, patches, rounding, square_sides, take_heads, transformer
from mae_core.layouts.table import ENCODER, TableLayout
from mae_core.layouts.vit import DECODER_NAMES, DECODER_POSITIONS, ENCODER_NAMES, ENCODER_POSITIONS
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.parts.positions import sincos_table
from mae_core.parts.vit_encoder import ViTEncoder
from mae_image.tokenizer import IMAGENET_MEAN, IMAGENET_STD, ImagePatches

RECIPE = "image/mae_vit_base"
TOKENIZER = "model.modalities.image.tokenizer"
TARGET = "model.modalities.image.target"
ENCODER_PARTS = ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "blocks.0.attn.qkv.bias")
DECODER_PARTS = ("decoder_embed.", "mask_token", "decoder_pos_embed", "decoder_blocks.0.attn.qkv.weight", "decoder_pred.weight")


class TimmLayout(TableLayout):
    """timm's VisionTransformer, which is also the encoder part of a published MAE checkpoint."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS
    left_out: ClassVar = ("head.", "mask_token")  # which stays behind where a decoder is taken out of an MAE

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Square samples of the published family; a `config.json` of timm's says how they are normalised."""
        if not has(weights, *ENCODER_PARTS, "norm.weight") or has(weights, "decoder_embed."):
            return None
        sizes = encoder_sizes(weights)
        if sizes is None:
            return None
        encoder, image = sizes
        about = beside.get("config.json", {}).get("pretrained_cfg", {})
        assumed = take_heads(encoder, _heads_said(beside), FAMILY_HEADS, "model.encoder.heads")
        if "mean" in about and "std" in about:
            image["tokenizer"] |= {"mean": list(about["mean"]), "std": list(about["std"])}
        elif "mean" not in image["tokenizer"]:
            assumed |= {f"{TOKENIZER}.mean": list(IMAGENET_MEAN), f"{TOKENIZER}.std": list(IMAGENET_STD)}
        model = {"encoder": encoder, "modalities": {"image": image}}
        title = "the encoder of an MAE, or a VisionTransformer of timm"
        if has(weights, "head."):
            title += " (its classifier is left out)"
        return Found(title, RECIPE, model, assumed, complete=False)

    def files_beside(self, model: nn.Module, *, entry: str) -> dict[str, Any]:
        """`config.json` as timm writes it: the architecture, arguments that make it this model, and a `pretrained_cfg`."""
        backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
        assert isinstance(backbone, Backbone)
        tokenizer, encoder = backbone.input(entry).tokenizer, backbone.encoder
        assert isinstance(tokenizer, ImagePatches)
        assert isinstance(encoder, ViTEncoder)
        arguments = _arguments(encoder, tokenizer.sample_shape, self.patch_sides(tokenizer))
        name = _architecture(arguments)
        about = {
            "input_size": list(tokenizer.sample_shape),
            "mean": values_of(tokenizer.mean),
            "std": values_of(tokenizer.std),
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "fixed_input_size": True,
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
        content = {"architecture": name or BASE, "num_classes": 0, "num_features": encoder.width, "global_pool": "token"}
        return {"config.json": content | {"pretrained_cfg": about} | ({} if name else {"model_args": arguments})}


BASE = "vit_base_patch16_224"
"""The architecture of timm's that arguments make any other of."""
ARCHITECTURES = {
    (192, 12, 3): "tiny",
    (384, 12, 6): "small",
    (768, 12, 12): "base",
    (1024, 24, 16): "large",
    (1280, 32, 16): "huge",
}
"""timm's names of the published sizes: width, depth and heads."""


def _arguments(encoder: ViTEncoder, sample_shape: Sequence[int], patch: Sequence[int]) -> dict[str, Any]:
    """Those of timm's VisionTransformer."""
    sizes = transformer(encoder.state_dict(), "blocks")
    channels, *sides = sample_shape
    heads = describe_blocks(encoder.blocks)["num_attention_heads"]
    return {
        "img_size": list(sides),
        "patch_size": list(patch),
        "in_chans": channels,
        "embed_dim": sizes["width"],
        "depth": sizes["depth"],
        "num_heads": heads,
        "mlp_ratio": sizes["mlp_ratio"],
    }


def _architecture(arguments: Mapping[str, Any]) -> str | None:
    """The name of timm's own model of these sizes, if it has one."""
    size = ARCHITECTURES.get((arguments["embed_dim"], arguments["depth"], arguments["num_heads"]))
    patch, sides = arguments["patch_size"], arguments["img_size"]
    usual = sides == [224, 224] and patch[0] == patch[1] and arguments["in_chans"] == 3 and arguments["mlp_ratio"] == 4.0
    name = f"vit_{size}_patch{patch[0]}_224"
    return name if size and usual and timm.is_model(name) else None


class MaeVitLayout(ClassifierLayout):
    """A classifier that the published MAE has fine-tuned, or trained as a linear probe."""

    modality = "image"
    names: ClassVar = {**ENCODER_NAMES, ENCODER + "mask_token": None}
    positions: ClassVar = ENCODER_POSITIONS

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """The backbone of a classifier that pools patches, with trained positions. (A linear probe's is that of `timm`.)"""
        if not has(weights, *ENCODER_PARTS, "fc_norm.weight") or has(weights, "norm.weight"):
            return None
        sizes = encoder_sizes(weights)
        if sizes is None:
            return None
        encoder, image = sizes
        image["positions"] = {"name": "learned", "class_token": True}
        assumed = take_heads(encoder, _heads_said(beside), FAMILY_HEADS, "model.encoder.heads")
        model = {"encoder": {**encoder, "final_norm": False}, "modalities": {"image": image}}
        title = "the encoder of a classifier with mean pooling, fine-tuned from an MAE (its head is left out)"
        return Found(title, RECIPE, model, assumed, complete=False)


class MaeLayout(TableLayout):
    """A published MAE pre-training checkpoint, encoder and decoder."""

    modality = "image"
    names: ClassVar = {
        **ENCODER_NAMES,
        **DECODER_NAMES,
    }
    positions: ClassVar = {**ENCODER_POSITIONS, **DECODER_POSITIONS}
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
