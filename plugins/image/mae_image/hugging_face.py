"""Names and shapes of Hugging Face's ViTMAE, and of the encoders that have its names."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Found
from mae_core.layouts.forms import PositionTable
from mae_core.layouts.hugging_face import (
    BLOCK,
    COMMON,
    CONFIG,
    PREPROCESSOR,
    WEIGHTS,
    described,
    older_names,
    one_side,
    transformer,
    values_of,
)
from mae_core.layouts.shapes import FAMILY_HEADS, has, take_heads
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.parts.pixels import Pixels
from mae_core.parts.vit_decoder import ViTDecoder
from mae_core.parts.vit_encoder import ViTEncoder
from mae_image.layouts import DECODER_HEADS, RECIPE, TARGET, TOKENIZER, image_parts
from mae_image.tokenizer import IMAGENET_MEAN, IMAGENET_STD, ImagePatches
from mae_registry import MaeError

PREFIX = "vit."
LAYERS = f"{PREFIX}encoder.layer"
EMBEDDING = f"{PREFIX}embeddings.patch_embeddings.projection."
POSITIONS = f"{PREFIX}embeddings.position_embeddings"
DECODER_LAYERS = "decoder.decoder_layers"
BICUBIC = 3
"""As Pillow numbers its filters."""


class HuggingFaceVitMaeLayout(TableLayout):
    """ViTMAEForPreTraining, ViTMAEModel, and the encoder of other models with their names, such as ViTModel.

    The names are those of the files on the hub. Newer ones, of transformers 5, are read too. A classifier is left out.
    """

    modality = "image"
    weights_file = WEIGHTS
    names: ClassVar = {
        ENCODER + "cls_token": f"{PREFIX}embeddings.cls_token",
        ENCODER + "blocks.": f"{LAYERS}.",
        ENCODER + "norm.": f"{PREFIX}layernorm.",
        INPUT + "tokenizer.proj.": EMBEDDING,
        DECODER + "embed.": "decoder.decoder_embed.",
        DECODER + "mask_token": "decoder.mask_token",
        DECODER + "blocks.": f"{DECODER_LAYERS}.",
        DECODER + "norm.": "decoder.decoder_norm.",
        DECODER + "head.": "decoder.decoder_pred.",
    }
    pieces: ClassVar = {
        **BLOCK,
        "attn.qkv.bias": tuple(f"attention.attention.{part}.bias" for part in ("query", "key", "value")),
    }
    positions: ClassVar = {
        INPUT + "positions": PositionTable(POSITIONS, class_token=ENCODER + "cls_token"),
        DECODER + "positions": PositionTable("decoder.decoder_pos_embed"),
    }
    left_out: ClassVar = ("classifier.", f"{PREFIX}pooler.")

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Published -> ours, by older or newer names."""
        return super().to_model(model, older_names(state_dict, prefix=PREFIX), entry=entry)

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Sizes from the shapes; heads, normalisation and targets from the files beside them, where there are any."""
        weights = older_names(weights, prefix=PREFIX)
        if not has(weights, f"{EMBEDDING}weight", POSITIONS, f"{LAYERS}.0.attention.attention.query.bias"):
            return None
        about, encoder = beside.get(CONFIG, {}), transformer(weights, LAYERS)
        image = image_parts(weights[POSITIONS], weights[f"{EMBEDDING}weight"], encoder["width"])
        if image is None:
            return None
        assumed = take_heads(encoder, about.get("num_attention_heads"), FAMILY_HEADS, "model.encoder.heads")
        assumed |= _normalisation(beside.get(PREPROCESSOR, {}), image["tokenizer"])
        model = {"encoder": encoder, "modalities": {"image": image}}
        if not has(weights, f"{DECODER_LAYERS}.", "decoder.mask_token"):
            return Found("an encoder with the names of Hugging Face's ViTMAE", RECIPE, model, assumed, complete=False)
        image["decoder"] = transformer(weights, DECODER_LAYERS)
        said = about.get("decoder_num_attention_heads")
        assumed |= take_heads(image["decoder"], said, DECODER_HEADS, "model.modalities.image.decoder.heads")
        if "norm_pix_loss" in about:
            image["target"] = {"normalize": "patch" if about["norm_pix_loss"] else "none"}
        else:
            assumed[f"{TARGET}.normalize"] = "none"
        return Found("Hugging Face's ViTMAEForPreTraining", RECIPE, model, assumed)

    def files_beside(self, model: nn.Module, *, entry: str) -> dict[str, Any]:
        """What `from_pretrained` reads: the model's sizes, and how photographs are resized and normalised."""
        backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
        assert isinstance(backbone, Backbone)
        tokenizer = backbone.input(entry).tokenizer
        assert isinstance(tokenizer, ImagePatches)
        side = one_side(tokenizer.sample_shape[1:], "photographs")
        config = {
            **COMMON,
            "architectures": ["ViTMAEModel"],
            "model_type": "vit_mae",
            "image_size": side,
            "patch_size": one_side(self.patch_sides(tokenizer), "patches"),
            "num_channels": tokenizer.sample_shape[0],
            "qkv_bias": True,
        }
        assert isinstance(backbone.encoder, ViTEncoder)
        config |= described(backbone.encoder.blocks)
        if isinstance(model, MaskedAutoencoder):
            config |= {"architectures": ["ViTMAEForPreTraining"]} | _of_training(model, entry)
        return {CONFIG: config, PREPROCESSOR: _preprocessor(tokenizer, side)}


def _of_training(model: MaskedAutoencoder, entry: str) -> dict[str, Any]:
    parts = model.parts(entry)
    if not isinstance(parts.decoder, ViTDecoder) or not isinstance(parts.target, Pixels):
        raise MaeError("this layout holds the decoder 'vit' and the target 'pixels' only")
    ratio = getattr(parts.masker, "ratio", None)
    return {
        **described(parts.decoder.blocks, prefix="decoder_"),
        "mask_ratio": ratio if isinstance(ratio, float) else 0.75,
        "norm_pix_loss": parts.target.normalize == "patch",
    }


def _preprocessor(tokenizer: ImagePatches, side: int) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": values_of(tokenizer.mean),
        "image_std": values_of(tokenizer.std),
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def _normalisation(preprocessor: Mapping[str, Any], tokenizer: dict[str, Any]) -> dict[str, Any]:
    """What is assumed of the mean and the deviation; they go to `tokenizer` where they are known."""
    if "image_mean" in preprocessor and "image_std" in preprocessor:
        tokenizer |= {"mean": list(preprocessor["image_mean"]), "std": list(preprocessor["image_std"])}
    if "mean" in tokenizer:
        return {}
    return {f"{TOKENIZER}.mean": list(IMAGENET_MEAN), f"{TOKENIZER}.std": list(IMAGENET_STD)}
