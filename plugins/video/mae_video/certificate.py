"""`mae verify video`: this installation against the published numbers of VideoMAE, VideoMAE V2 and MAE-ST."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mae_core.evaluation.certificate import (
    check_loss,
    check_manifest,
    check_mask,
    check_prediction,
    check_round_trip,
    published_model,
)
from mae_core.interfaces import Check, Grid, Mask, Numbers, Published
from mae_core.layouts.shapes import transformer
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.output import Output
from mae_video.masking import NUM_PHASES, running_cells

MANIFESTS = {
    "VideoMAE S": ("video/videomae_small", "videomae", "pretrain_videomae_small_patch16_224"),
    "VideoMAE B": ("video/videomae_base", "videomae", "pretrain_videomae_base_patch16_224"),
    "VideoMAE L": ("video/videomae_large", "videomae", "pretrain_videomae_large_patch16_224"),
    "VideoMAE H": ("video/videomae_huge", "videomae", "pretrain_videomae_huge_patch16_224"),
    "MAE-ST B": ("video/mae_st_base", "mae_st", "mae_st_mae_vit_base_patch16"),
    "MAE-ST L": ("video/mae_st_large", "mae_st", "mae_st_mae_vit_large_patch16"),
    "MAE-ST H": ("video/mae_st_huge", "mae_st", "mae_st_mae_vit_huge_patch14"),
}
"""Recipe, layout and file of each published checkpoint's names and shapes."""


def certify(numbers: Published) -> Iterator[Check]:
    """One check after the other; those at full size last."""
    yield from _videomae(numbers.read("videomae"))
    yield from _videomae_v2(numbers.read("videomaev2"))
    yield from _mae_st(numbers.read("mae_st"))
    for name, (recipe, layout, file) in MANIFESTS.items():
        # VideoMAE has no key biases; ours are there, zero, and left out of its layout
        trained = layout != "videomae"
        yield from check_manifest(name, numbers.manifest(file), recipe=recipe, layout=layout, trained=trained)


def _videomae(numbers: Numbers) -> Iterator[Check]:
    model = _videomae_model(numbers, "video/videomae_base")
    yield from _compare("VideoMAE", _forward(model, numbers, Mask.from_hidden(numbers["mask"])), numbers)
    yield check_round_trip("VideoMAE", model, numbers.weights, layout="videomae")


def _videomae_v2(numbers: Numbers) -> Iterator[Check]:
    model = _videomae_model(numbers, "video/videomae_v2_base")
    grid, expected = model.parts("video").tokenizer.grid, ~numbers["dec_mask"]
    phases = _phases(grid, expected)
    predicted = running_cells(grid, phases)
    error, detail = float((predicted != expected).sum()), f"phases {', '.join(map(str, phases.tolist()))}"
    yield Check("VideoMAE V2: running cells", error, 0, detail)
    mask = Mask.from_hidden(numbers["enc_mask"]).asking(Mask.from_hidden(predicted).ids_predict)
    yield from _compare("VideoMAE V2", _forward(model, numbers, mask), numbers)


def _mae_st(numbers: Numbers) -> Iterator[Check]:
    mask = Mask.from_noise(numbers["noise"], int((numbers["mask"][0] == 0).sum()))
    yield check_mask("MAE-ST", mask.hidden, numbers["mask"])
    model = _mae_st_model(numbers)
    yield from _compare("MAE-ST", _forward(model, numbers, mask, predict="all"), numbers)
    yield check_round_trip("MAE-ST", model, numbers.weights, layout="mae_st")


def _phases(grid: Grid, predicted: Tensor) -> Tensor:
    """(B,): for each sample, the phase whose running cells (N) differ least from the published ones."""
    every = running_cells(grid, torch.arange(NUM_PHASES))
    return (every.unsqueeze(0) != predicted.unsqueeze(1)).sum(-1).argmin(1)


def _compare(name: str, out: Output, numbers: Numbers) -> Iterator[Check]:
    yield check_prediction(f"{name}: prediction", out.pred["video"], numbers["pred"])
    yield check_loss(f"{name}: loss", out.loss, numbers["loss"])


def _forward(model: MaskedAutoencoder, numbers: Numbers, mask: Mask, **options: Any) -> Output:
    with torch.no_grad():
        return model({"video": numbers["x"]}, masks={"video": mask}, **options)


def _videomae_model(numbers: Numbers, recipe: str) -> MaskedAutoencoder:
    weights = numbers.weights
    encoder = transformer(weights, "encoder.blocks", heads=numbers.size("encoder_num_heads"))
    video = {
        "tokenizer": _tokenizer(numbers, weights["encoder.patch_embed.proj.weight"]),
        "decoder": transformer(weights, "decoder.blocks", heads=numbers.size("decoder_num_heads")),
    }
    return published_model(recipe, {"encoder": encoder, "modalities": {"video": video}}, weights, layout="videomae")


def _mae_st_model(numbers: Numbers) -> MaskedAutoencoder:
    weights = numbers.weights
    encoder = transformer(weights, "blocks", heads=numbers.size("num_heads"))
    video = {
        "tokenizer": _tokenizer(numbers, weights["patch_embed.proj.weight"]),
        "decoder": transformer(weights, "decoder_blocks", heads=numbers.size("decoder_num_heads")),
        "target": {
            "num_frames": numbers.size("pred_t_dim"),
            "normalize": "patch" if numbers.size("norm_pix_loss") else "none",
        },
    }
    sizes = {"encoder": encoder, "modalities": {"video": video}}
    return published_model("video/mae_st_base", sizes, weights, layout="mae_st")


def _tokenizer(numbers: Numbers, projection: Tensor) -> dict[str, Any]:
    """`projection` is the convolution's weight, (D, C, t, p, q)."""
    channels, *input_size = numbers["x"].shape[1:]
    return {"input_size": input_size, "patch_size": list(projection.shape[2:]), "channels": channels}
