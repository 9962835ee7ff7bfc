"""`mae verify satmae`: grouped bands and images at several dates, against the published numbers of SatMAE."""

from collections.abc import Iterator
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from mae_core.evaluation.certificate import check_loss, check_mask, check_prediction, check_round_trip, published_model
from mae_core.interfaces import Check, Mask, Numbers, Published, Sample
from mae_core.layouts.shapes import transformer
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_methods.satmae.bands import require_groups
from mae_methods.satmae.positions import NUM_UNITS, TIMESTAMPS

BANDS, DATES = "multispectral", "dated_images"


def certify(numbers: Published) -> Iterator[Check]:
    """One forward pass of each; importing the weights compares the position tables too."""
    yield from _groups(numbers.read("satmae_group"))
    yield from _dates(numbers.read("satmae_temporal"))


def _groups(numbers: Numbers) -> Iterator[Check]:
    model, mask = _group_model(numbers), _mask(numbers)
    yield check_mask("groups", mask.hidden, numbers["mask"].flatten(1))
    with torch.no_grad():
        out = model({BANDS: numbers["x"]}, masks={BANDS: mask}, predict="all")
    bands = require_groups(model.parts(BANDS).tokenizer, what="this certificate")
    found = rearrange(out.pred[BANDS], "b (g l) (m s) -> b (g m) l s", g=len(bands.groups), m=bands.max_bands)[:, bands.slots()]
    yield check_prediction("groups: prediction", found, numbers["pred"])
    yield check_loss("groups: loss", out.loss, numbers["loss"])
    yield check_round_trip("groups", model, numbers.weights, layout="satmae_group")


def _dates(numbers: Numbers) -> Iterator[Check]:
    model, mask = _date_model(numbers), _mask(numbers)
    yield check_mask("dates", mask.hidden, numbers["mask"])
    sample = Sample(_channels_first(numbers["x"]), {TIMESTAMPS: numbers[TIMESTAMPS]})
    with torch.no_grad():
        out = model({DATES: sample}, masks={DATES: mask}, predict="all")
    yield check_prediction("dates: prediction", out.pred[DATES], numbers["pred"])
    yield check_loss("dates: loss", out.loss, numbers["loss"])
    yield check_round_trip("dates", model, numbers.weights, layout="satmae_temporal")


def _mask(numbers: Numbers) -> Mask:
    hidden, noise = numbers["mask"].flatten(1), numbers["noise"]
    if noise.shape != hidden.shape:  # one noise for all groups, or for all images
        return Mask.from_hidden(hidden.bool())
    return Mask.from_noise(noise, int((hidden[0] == 0).sum()))


def _channels_first(images: Tensor) -> Tensor:
    """(B, images, C, H, W), as published -> (B, C, images, H, W)."""
    return images.transpose(1, 2)


def _group_model(numbers: Numbers) -> MaskedAutoencoder:
    side, patch = numbers.size("img_size"), numbers.size("patch_size")
    parts = {
        "tokenizer": {
            "input_size": [side, side],
            "patch_size": [patch, patch],
            "groups": numbers.size("channel_groups"),
        },
        "positions": {"group_width": numbers.weights["channel_embed"].shape[-1]},
        "decoder_positions": {"group_width": numbers.weights["decoder_channel_embed"].shape[-1]},
        "target": {"normalize": "place" if numbers.size("norm_pix_loss") else "none"},
    }
    return _model(numbers, BANDS, parts, recipe="methods/satmae_group_large", layout="satmae_group")


def _date_model(numbers: Numbers) -> MaskedAutoencoder:
    side, patch = numbers.size("img_size"), numbers.size("patch_size")
    num_images, channels = numbers["x"].shape[1:3]
    parts = {
        "tokenizer": {
            "input_size": [num_images, side, side],
            "patch_size": [1, patch, patch],
            "channels": channels,
            "mean": [0.0] * channels,
            "std": [1.0] * channels,
        },
        "positions": {"unit_width": _unit_width(numbers, "cls_token", "pos_embed")},
        "decoder_positions": {"unit_width": _unit_width(numbers, "mask_token", "decoder_pos_embed")},
        "target": {"normalize": "patch" if numbers.size("norm_pix_loss") else "none"},
    }
    return _model(numbers, DATES, parts, recipe="methods/satmae_temporal_large", layout="satmae_temporal")


def _unit_width(numbers: Numbers, token: str, places: str) -> int:
    """The columns of each unit of a date: what the table of places leaves of the width."""
    return (numbers.weights[token].shape[-1] - numbers.weights[places].shape[-1]) // NUM_UNITS


def _model(numbers: Numbers, entry: str, parts: dict[str, Any], *, recipe: str, layout: str) -> MaskedAutoencoder:
    weights = numbers.weights
    encoder = transformer(weights, "blocks", heads=numbers.size("num_heads"))
    decoder = transformer(weights, "decoder_blocks", heads=numbers.size("decoder_num_heads"))
    sizes = {"encoder": encoder, "modalities": {entry: {**parts, "decoder": decoder}}}
    return published_model(recipe, sizes, weights, layout=layout)
