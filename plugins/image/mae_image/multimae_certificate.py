"""`mae verify multimae`: photograph, depth and labels through one encoder, against MultiMAE's published numbers."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mae_core.evaluation.certificate import check_loss, check_prediction, heads_that_agree, largest_error, published_model
from mae_core.interfaces import Check, Mask, Numbers, Published
from mae_core.layouts.shapes import transformer
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.output import Output
from mae_image.multimae import TASKS

LOSSES = {"image": ("rgb", "norm_rgb"), "depth": ("depth",), "semseg": ("semseg",)}


def certify(numbers: Published) -> Iterator[Check]:
    """One forward pass of all tasks together."""
    golden = numbers.read("multimae")
    out = _forward(golden)
    for task, pred in predictions_of(out, golden["x/rgb"].shape[1]).items():
        expected = golden[f"preds/{task}"]
        yield check_prediction(f"forward: {task}", as_maps(pred, expected), expected)
    for entry, tasks in LOSSES.items():
        expected = torch.stack([golden[f"losses/{task}"] for task in tasks]).sum()
        yield check_loss(f"forward: loss of {' and '.join(tasks)}", out.losses[entry], expected)
    yield check_loss("forward: sum of the losses", out.loss, golden["loss"])


def _forward(golden: Numbers) -> Output:
    """The file does not state the numbers of heads: they are those that predict what it holds."""
    samples = {entry: golden[f"x/{task}"] for entry, task in TASKS.items()}
    masks = {entry: Mask.from_hidden(golden[f"masks/{task}"].bool(), ragged=True) for entry, task in TASKS.items()}

    def forward(decoder_heads: int, heads: int) -> Output:
        with torch.no_grad():
            return _model(golden, heads, decoder_heads)(samples, masks=masks, predict="all")

    def error(*heads: int) -> float:
        return largest_error(as_maps(forward(*heads).pred["depth"], golden["preds/depth"]), golden["preds/depth"])

    widths = golden.weights["output_adapters.depth.proj_context.weight"].shape  # of the decoder, of the encoder
    decoder_heads, heads = heads_that_agree(widths, error)
    return forward(decoder_heads, heads)


def _model(golden: Numbers, heads: int, decoder_heads: int) -> MaskedAutoencoder:
    """Position tables are compared on import too."""
    weights = golden.weights
    encoder = transformer(weights, "encoder", heads=heads) | {"name": "vit", "final_norm": False}
    patch = list(weights["input_adapters.rgb.proj.weight"].shape[2:])
    sizes = {"input_size": list(golden["x/rgb"].shape[2:]), "patch_size": patch}
    num_classes, class_width = weights["input_adapters.semseg.class_emb.weight"].shape
    labels = {"num_classes": num_classes, "class_width": class_width, "stride": _stride(golden)}
    modalities: dict[str, Any] = {
        entry: {
            "tokenizer": sizes | (labels if entry == "semseg" else {}),
            "decoder": transformer(weights, f"output_adapters.{task}.decoder_transformer", heads=decoder_heads),
        }
        for entry, task in TASKS.items()
    }
    num_keep = sum(int((golden[f"masks/{task}"][0] == 0).sum()) for task in TASKS.values())
    sections = {"encoder": encoder, "masker": {"num_keep": num_keep}, "modalities": modalities}
    return published_model("image/multimae_base", sections, weights, layout="multimae")


def _stride(golden: Numbers) -> int:
    """Pixels a label, along each side."""
    return golden["x/rgb"].shape[-1] // golden["x/semseg"].shape[-1]


def predictions_of(out: Output, channels: int) -> dict[str, Tensor]:
    """Predictions by task; those of pixels have the published order of values in a patch, with channels first."""
    plain, normalized = (
        part.unflatten(-1, (-1, channels)).transpose(-1, -2).flatten(-2) for part in out.pred["image"].chunk(2, dim=-1)
    )
    return {"rgb": plain, "norm_rgb": normalized, "depth": out.pred["depth"], "semseg": out.pred["semseg"]}


def as_maps(pred: Tensor, maps: Tensor) -> Tensor:
    """Predictions (B, N, C * P) in the published order -> (B, C, H, W)."""
    channels, height, width = maps.shape[1:]
    side = int((pred.shape[-1] // channels) ** 0.5)
    patches = pred.unflatten(-1, (channels, side, side)).unflatten(1, (height // side, width // side))
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(maps.shape)
