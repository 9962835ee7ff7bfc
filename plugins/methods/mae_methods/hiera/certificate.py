"""`mae verify hiera`: this installation against the published numbers of Hiera, of images and of videos."""

from collections.abc import Iterator
from typing import Any

import torch

from mae_core.evaluation.certificate import check_loss, check_prediction, check_round_trip, published_model
from mae_core.interfaces import Check, Mask, Numbers, Published, Seen, gather_patches
from mae_core.layouts.shapes import transformer
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_methods.hiera.encoder import HieraEncoder

UNSTATED = {"q_stride": [2, 2], "mask_unit_size": [8, 8], "patch_stride": [4, 4]}
"""The published model's own sizes, where a file states none."""


def certify(numbers: Published) -> Iterator[Check]:
    """One check after the other."""
    yield from _certify("image", numbers.read("hiera"), recipe="methods/hiera_base", layout="hiera")
    yield from _certify("video", numbers.read("hiera_video"), recipe="methods/hiera_video_base", layout="hiera_video")


def _certify(modality: str, numbers: Numbers, *, recipe: str, layout: str) -> Iterator[Check]:
    model = _model(modality, numbers, recipe=recipe, layout=layout)
    mask, x = _mask(model, numbers), numbers["x"]
    with torch.no_grad():
        out = model({modality: x}, masks={modality: mask})
    parts = model.parts(modality)
    truth = parts.target.prepare(Seen(modality, x, parts.tokenizer.patchify(x), {}, None))
    label = gather_patches(truth, mask.ids_predict).flatten(0, 1)
    yield check_prediction(f"{modality}: target", label, numbers["label"])
    yield check_prediction(f"{modality}: prediction", out.pred[modality].flatten(0, 1), numbers["pred"])
    yield check_loss(f"{modality}: loss", out.loss, numbers["loss"])
    yield check_round_trip(modality, model, numbers.weights, layout=layout)


def _mask(model: MaskedAutoencoder, numbers: Numbers) -> Mask:
    """The published masks are of mask units, in raster order, and true where these are kept."""
    encoder = model.backbone.encoder
    assert isinstance(encoder, HieraEncoder)
    return Mask.from_hidden(~numbers["mask"].bool()[:, encoder.units.unit_of])


def _model(modality: str, numbers: Numbers, *, recipe: str, layout: str) -> MaskedAutoencoder:
    weights, size = numbers.weights, numbers.size
    stride, unit, pooling = (_sides(numbers, name) for name in ("patch_stride", "mask_unit_size", "q_stride"))
    patch = [step ** size("q_pool") for step in pooling]
    hidden, width = weights["blocks.0.mlp.fc1.weight"].shape
    embedding = weights["patch_embed.proj.weight"]
    encoder: dict[str, Any] = {
        "width": width,
        "depths": size("stages"),
        "heads": size("num_heads"),
        "kernel": list(embedding.shape[2:]),
        "stride": stride,
        "mask_unit": unit,
        "mlp_ratio": hidden / width,
    }
    parts: dict[str, Any] = {
        "tokenizer": {
            "input_size": size("input_size"),
            "patch_size": [step * side for step, side in zip(stride, patch, strict=True)],
            "channels": embedding.shape[1],
        },
        # masks are in the file, but a model's masker must fit its grid
        "masker": {"ratio": 0.5, "unit": [whole // part for whole, part in zip(unit, patch, strict=True)]},
        "decoder": transformer(weights, "decoder_blocks", heads=size("decoder_num_heads")),
    }
    return published_model(recipe, {"encoder": encoder, "modalities": {modality: parts}}, weights, layout=layout)


def _sides(numbers: Numbers, name: str) -> list[int]:
    return numbers.sizes().get(name, UNSTATED[name])
