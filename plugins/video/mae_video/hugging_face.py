"""Names and shapes of Hugging Face's VideoMAE."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Found
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
from mae_core.layouts.shapes import FAMILY_HEADS, has, patches, take_heads
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.parts.vit_decoder import ViTDecoder
from mae_core.parts.vit_encoder import ViTEncoder
from mae_registry import MaeError
from mae_video.layouts import CLIP, DECODER_HEADS, VIDEO
from mae_video.positions import FlatSinCos
from mae_video.targets import ChannelPixels
from mae_video.tokenizer import Tubelets

RECIPE = "video/videomae_base"
PREFIX = "videomae."
LAYERS = f"{PREFIX}encoder.layer"
EMBEDDING = f"{PREFIX}embeddings.patch_embeddings.projection."
DECODER_LAYERS = "decoder.decoder_layers"
BILINEAR = 2
"""As Pillow numbers its filters."""


class HuggingFaceVideoMaeLayout(TableLayout):
    """VideoMAEForPreTraining, VideoMAEModel, and the encoder of a classifier, which is left out.

    Its attention has no bias of the keys; see the layout `videomae`. Positions are fixed, and not in the file.
    """

    modality = "video"
    weights_file = WEIGHTS
    names: ClassVar = {
        ENCODER + "blocks.": f"{LAYERS}.",
        ENCODER + "norm.": f"{PREFIX}layernorm.",
        INPUT + "tokenizer.proj.": EMBEDDING,
        DECODER + "embed.": "encoder_to_decoder.",
        DECODER + "mask_token": "mask_token",
        DECODER + "blocks.": f"{DECODER_LAYERS}.",
        DECODER + "norm.": "decoder.norm.",
        DECODER + "head.": "decoder.head.",
    }
    pieces: ClassVar = {**BLOCK, "attn.qkv.bias": ("attention.attention.q_bias", None, "attention.attention.v_bias")}
    left_out: ClassVar = ("classifier.", "fc_norm.")

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Published -> ours, by older or newer names."""
        return super().to_model(model, _older_names(state_dict), entry=entry)

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Sizes from the shapes; the size of clips, heads and normalisation from the files beside them, if there are any."""
        weights, about = _older_names(weights), beside.get(CONFIG, {})
        if not has(weights, f"{EMBEDDING}weight", f"{LAYERS}.0.attention.attention.q_bias"):
            return None
        if weights[f"{EMBEDDING}weight"].ndim != 5:
            return None
        encoder = {**transformer(weights, LAYERS), "final_norm": has(weights, f"{PREFIX}layernorm.")}
        video: dict[str, Any] = {"tokenizer": patches(weights[f"{EMBEDDING}weight"])}
        assumed = take_heads(encoder, about.get("num_attention_heads"), FAMILY_HEADS, "model.encoder.heads")
        if "num_frames" in about and "image_size" in about:
            video["tokenizer"]["input_size"] = [about["num_frames"], *[about["image_size"]] * 2]
        else:
            assumed[f"{VIDEO}.tokenizer.input_size"] = CLIP
        preprocessor = beside.get(PREPROCESSOR, {})
        if "image_mean" in preprocessor and "image_std" in preprocessor:
            video["tokenizer"] |= {"mean": list(preprocessor["image_mean"]), "std": list(preprocessor["image_std"])}
        model = {"encoder": encoder, "modalities": {"video": video}}
        if not has(weights, f"{DECODER_LAYERS}.", "encoder_to_decoder."):
            return Found("the encoder of Hugging Face's VideoMAE", RECIPE, model, assumed, complete=False)
        video["decoder"] = transformer(weights, DECODER_LAYERS)
        if not about.get("norm_pix_loss", True):
            video["target"] = {"name": "pixels", "normalize": "none"}
        said = about.get("decoder_num_attention_heads")
        assumed |= take_heads(video["decoder"], said, DECODER_HEADS, f"{VIDEO}.decoder.heads")
        return Found("Hugging Face's VideoMAEForPreTraining", RECIPE, model, assumed)

    def files_beside(self, model: nn.Module, *, entry: str) -> dict[str, Any]:
        """What `from_pretrained` reads: the model's sizes, and how frames are resized and normalised."""
        backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
        assert isinstance(backbone, Backbone)
        parts = backbone.input(entry)
        tokenizer, encoder = parts.tokenizer, backbone.encoder
        assert isinstance(tokenizer, Tubelets)
        if not isinstance(encoder, ViTEncoder) or encoder.cls_token is not None or not isinstance(parts.positions, FlatSinCos):
            raise MaeError("this layout holds the encoder 'vit' without a class token, and the positions 'flat_sincos' only")
        channels, frames, *sides = tokenizer.sample_shape
        tube, *patch = self.patch_sides(tokenizer)
        side = one_side(sides, "frames")
        config = {
            **COMMON,
            "architectures": ["VideoMAEModel"],
            "model_type": "videomae",
            "image_size": side,
            "patch_size": one_side(patch, "patches"),
            "num_channels": channels,
            "num_frames": frames,
            "tubelet_size": tube,
            "qv_bias": True,
            "use_mean_pooling": isinstance(encoder.norm, nn.Identity),  # then there is no norm behind the encoder
            **described(encoder.blocks),
        }
        if isinstance(model, MaskedAutoencoder):
            config |= {"architectures": ["VideoMAEForPreTraining"], **_of_training(model, entry)}
        return {CONFIG: config, PREPROCESSOR: _preprocessor(tokenizer, side)}


def _older_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Transformers 5 has given the biases the names of linear layers' biases."""
    older = older_names(weights, prefix=PREFIX)
    return {
        name.replace("attention.query.bias", "attention.q_bias").replace("attention.value.bias", "attention.v_bias"): tensor
        for name, tensor in older.items()
    }


def _of_training(model: MaskedAutoencoder, entry: str) -> dict[str, Any]:
    parts = model.parts(entry)
    if not isinstance(parts.decoder, ViTDecoder) or "embed.bias" in parts.decoder.state_dict():
        raise MaeError("this layout holds the decoder 'vit' with embed_bias: false only")
    return {
        **described(parts.decoder.blocks, prefix="decoder_"),
        "norm_pix_loss": isinstance(parts.target, ChannelPixels),
    }


def _preprocessor(tokenizer: Tubelets, side: int) -> dict[str, Any]:
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "crop_size": {"height": side, "width": side},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": values_of(tokenizer.mean),
        "image_std": values_of(tokenizer.std),
        "resample": BILINEAR,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": side},
    }
