"""`mae verify jepa`: this installation against the published numbers of I-JEPA (Assran et al. 2023)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mae_core.evaluation.certificate import check_loss, check_prediction, check_round_trip, published_model
from mae_core.interfaces import Check, Mask, Numbers, Published, Query, Seen, gather_patches
from mae_core.layouts.shapes import transformer
from mae_core.model.autoencoder import MaskedAutoencoder

STATE_DICTS = {"encoder": "encoder", "tgt": "target_encoder", "pred_sd": "predictor"}
"""The file's folders of weights, and what the layout calls them."""


def certify(numbers: Published) -> Iterator[Check]:
    """One forward pass: the teacher's latents, the predictions of every target block, the loss."""
    golden = numbers.read("ijepa")
    weights = {f"{name}.{key}": tensor for folder, name in STATE_DICTS.items() for key, tensor in golden.under(folder).items()}
    model = _model(golden, weights)
    mask = _mask(golden)
    with torch.no_grad():
        out = model({"image": golden["x"]}, masks={"image": mask})
        truth = _truth(model, golden["x"])
    # of one target block after the other
    asked = torch.cat([gather_patches(truth, query.ids) for query in mask.queries])
    yield check_prediction("teacher: latents", asked, golden["h"])
    yield check_prediction("predictor: latents", torch.cat([block.pred["image"] for block in out.sets]), golden["z"])
    yield check_loss("loss", out.loss, golden["loss"])
    yield check_round_trip("checkpoint", model, weights, layout="jepa")


def _model(golden: Numbers, weights: dict[str, Tensor]) -> MaskedAutoencoder:
    """Position tables are compared on import too."""
    patch, (channels, *sides) = weights["encoder.patch_embed.proj.weight"].shape[2:], golden["x"].shape[1:]
    image: dict[str, Any] = {
        "tokenizer": {
            "input_size": sides,
            "patch_size": list(patch),
            "channels": channels,
            "mean": [0.0] * channels,  # the file's samples are normalised
            "std": [1.0] * channels,
        },
        "decoder": transformer(weights, "predictor.predictor_blocks", heads=golden.size("num_heads", part="pc")),
        "masker": "random",  # the file has masks
    }
    encoder = transformer(weights, "encoder.blocks", heads=golden.size("num_heads", part="ec"))
    sizes = {"encoder": encoder, "modalities": {"image": image}}
    return published_model("methods/jepa_vit_base", sizes, weights, layout="jepa")


def _mask(golden: Numbers) -> Mask:
    """The context's ids, and those of each target block, all of which count, whether or not the context shows them."""
    (ids_keep,) = golden.under("masks_enc").values()
    num_patches = golden["encoder/pos_embed"].shape[1]
    hidden = torch.ones(len(ids_keep), num_patches, dtype=torch.bool).scatter(1, ids_keep, False)
    blocks = [ids for _, ids in sorted(golden.under("masks_pred").items(), key=lambda item: int(item[0]))]
    return Mask(ids_keep, hidden, tuple(Query(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in blocks))


def _truth(model: MaskedAutoencoder, x: Tensor) -> Tensor:
    """(B, N, D): what is to be predicted at each patch."""
    parts = model.parts("image")
    return parts.target.prepare(Seen("image", x, parts.tokenizer.patchify(x), {}, model.teachers.of("image")))
