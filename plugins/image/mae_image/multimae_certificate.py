"""`mae verify depth semseg`: photograph, depth and labels through one encoder, against MultiMAE's published numbers."""

from collections.abc import Iterator

import torch

from mae_core import build_model, load_config
from mae_core.evaluation.certificate import LOSS, PREDICTION, Published, largest_error, relative_error, state_dict_of
from mae_core.interfaces import Check, Mask
from mae_core.layouts.published import import_state_dict
from mae_image.multimae import TASKS


def certify() -> Iterator[Check]:
    """One forward pass of all tasks together."""
    golden = Published("mae_image").tensors("multimae")
    model = build_model(load_config(_config()))
    import_state_dict(model, state_dict_of(golden), layout="multimae")  # compares the position tables too
    samples = {modality: golden[f"x/{task}"] for modality, task in TASKS.items()}
    masks = {modality: Mask.from_hidden(golden[f"masks/{task}"].bool(), ragged=True) for modality, task in TASKS.items()}
    with torch.no_grad():
        out = model(samples, masks=masks, predict="all")
    image, normalized = (
        part.unflatten(-1, (-1, 3)).transpose(-1, -2).flatten(-2) for part in out.pred["image"].chunk(2, dim=-1)
    )
    predictions = {"rgb": image, "norm_rgb": normalized, "depth": out.pred["depth"], "semseg": out.pred["semseg"]}
    for task, pred in predictions.items():
        yield Check(
            f"forward: {task}", largest_error(_as_maps(pred, golden[f"preds/{task}"]), golden[f"preds/{task}"]), PREDICTION
        )
    for modality, tasks in {"image": ("rgb", "norm_rgb"), "depth": ("depth",), "semseg": ("semseg",)}.items():
        expected = sum(golden[f"losses/{task}"] for task in tasks)
        yield Check(
            f"forward: loss of {' and '.join(tasks)}", relative_error(out.losses[modality], torch.as_tensor(expected)), LOSS
        )
    yield Check(
        "forward: sum of the losses", relative_error(out.loss, golden["loss"]), LOSS, f"{float(out.loss):.6f}, relative"
    )


def _config() -> dict[str, object]:
    tokenizer = {"input_size": [64, 64], "patch_size": [16, 16]}
    decoder = {"width": 32, "depth": 2, "heads": 4}
    image = {
        "tokenizer": tokenizer,
        "positions": {"name": "sincos", "leading": "first_axis"},
        "decoder": {"name": "twin", **decoder},
        "target": "twin_pixels",
    }
    semseg = {"tokenizer": {**tokenizer, "num_classes": 134, "class_width": 8}, "decoder": decoder}
    encoder = {"name": "vit", "width": 48, "depth": 2, "heads": 4, "final_norm": False}
    modalities = {"image": image, "depth": {"tokenizer": tokenizer, "decoder": decoder}, "semseg": semseg}
    return {"model": {"encoder": encoder, "masker": {"name": "dirichlet", "num_keep": 12}, "modalities": modalities}}


def _as_maps(pred: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Predictions (B, N, C * P) in the published order -> (B, C, H, W)."""
    channels, height, width = maps.shape[1:]
    side = int((pred.shape[-1] // channels) ** 0.5)
    patches = pred.unflatten(-1, (channels, side, side)).unflatten(1, (height // side, width // side))
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(maps.shape)
