"""`mae verify video`: this installation against the numbers of the published implementations."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_core import build_model, load_config
from mae_core.evaluation.certificate import (
    LOSS,
    PREDICTION,
    Published,
    check_manifest,
    largest_error,
    relative_error,
    state_dict_of,
    worst,
)
from mae_core.interfaces import Check, Mask
from mae_core.layouts.published import export_state_dict, import_state_dict
from mae_core.model.autoencoder import MaskedAutoencoder, Output
from mae_video.masking import running_cells

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

PUBLISHED = Published("mae_video")


def certify() -> Iterator[Check]:
    """One check after the other; those at full size last."""
    yield from _videomae()
    yield from _videomae_v2()
    yield from _mae_st()
    for name, (recipe, layout, file) in MANIFESTS.items():
        manifest = PUBLISHED.manifest(file)
        # VideoMAE has no key biases; ours are there, zero, and left out of its layout
        trained = layout != "videomae"
        yield from check_manifest(name, manifest, recipe=recipe, layout=layout, trained=trained)


def _videomae() -> Iterator[Check]:
    golden = PUBLISHED.tensors("videomae")
    model = _published_model(golden, "video/videomae_base", "videomae", heads=4, decoder_heads=2)
    out = _forward(model, golden, Mask.from_hidden(golden["mask"]))
    yield from _compare("VideoMAE", out, golden)
    yield from _round_trip("VideoMAE", model, golden, "videomae")


def _videomae_v2() -> Iterator[Check]:
    golden = PUBLISHED.tensors("videomaev2")
    model = _published_model(golden, "video/videomae_v2_base", "videomae", heads=4, decoder_heads=2)
    grid = model.parts("video").tokenizer.grid
    predicted = running_cells(grid, torch.zeros(len(golden["x"]), dtype=torch.int64))
    yield Check("VideoMAE V2: running cells", largest_error(predicted.float(), (~golden["dec_mask"]).float()), 0, "phase 0")
    encoder_mask, ids_predict = Mask.from_hidden(golden["enc_mask"]), Mask.from_hidden(predicted).ids_predict
    out = _forward(model, golden, Mask(encoder_mask.ids_keep, ids_predict, encoder_mask.hidden))
    yield from _compare("VideoMAE V2", out, golden)


def _mae_st() -> Iterator[Check]:
    golden = PUBLISHED.tensors("mae_st")
    model = _published_model(golden, "video/mae_st_base", "mae_st", heads=4, decoder_heads=4)
    num_patches = golden["noise"].shape[1]
    mask = Mask.from_noise(golden["noise"], int(num_patches * (1 - 0.9)))
    yield Check("MAE-ST: mask", largest_error(mask.hidden.float(), golden["mask"]), 0)
    out = _forward(model, golden, mask, predict="all")
    yield from _compare("MAE-ST", out, golden)
    yield from _round_trip("MAE-ST", model, golden, "mae_st")


def _compare(name: str, out: Output, golden: Mapping[str, Tensor]) -> Iterator[Check]:
    shape = "x".join(map(str, golden["pred"].shape))
    yield Check(f"{name}: prediction", largest_error(out.pred["video"], golden["pred"]), PREDICTION, f"{shape}, absolute")
    yield Check(f"{name}: loss", relative_error(out.loss, golden["loss"]), LOSS, f"{float(out.loss):.6f}, relative")


def _round_trip(name: str, model: MaskedAutoencoder, golden: Mapping[str, Tensor], layout: str) -> Iterator[Check]:
    """Export gives back what was imported, to the bit."""
    state, exported = state_dict_of(golden), export_state_dict(model, layout=layout)
    same_names = exported.keys() == state.keys()
    error = worst(largest_error(exported[key], state[key]) for key in state) if same_names else math.inf
    yield Check(f"{name}: export of the imported weights", error, 0, f"{len(exported)} tensors")


def _forward(model: MaskedAutoencoder, golden: Mapping[str, Tensor], mask: Mask, **options: Any) -> Output:
    with torch.no_grad():
        return model({"video": golden["x"]}, masks={"video": mask}, **options)


def _published_model(
    golden: Mapping[str, Tensor], recipe: str, layout: str, *, heads: int, decoder_heads: int
) -> MaskedAutoencoder:
    """A model of the golden file's sizes with its weights, the rest as in `recipe`."""
    state = state_dict_of(golden)
    width, _, *patch_size = next(tensor.shape for name, tensor in state.items() if name.endswith("patch_embed.proj.weight"))
    input_size = list(golden["x"].shape[2:])
    video: dict[str, Any] = {
        "tokenizer": {"input_size": input_size, "patch_size": list(patch_size)},
        "decoder": {"width": state["mask_token"].shape[-1], "depth": 2, "heads": decoder_heads},
    }
    if layout == "mae_st":
        video["target"] = {"num_frames": input_size[0] // 2}
    encoder = {"width": width, "depth": 2, "heads": heads}
    model = build_model(load_config({"extends": recipe, "model": {"encoder": encoder, "modalities": {"video": video}}}))
    import_state_dict(model, state, layout=layout)
    return model
