"""`mae verify audio`: this installation against the published numbers of Audio-MAE (Huang et al. 2022)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_core import Config, build_model, load_config
from mae_core.evaluation.certificate import (
    PREDICTION,
    check_loss,
    check_manifest,
    check_mask,
    check_prediction,
    largest_error,
    largest_error_of,
    published_classification,
    worst,
)
from mae_core.interfaces import Check, Grid, Mask, Numbers, Published
from mae_core.layouts.published import export_state_dict, import_state_dict
from mae_core.layouts.shapes import transformer
from mae_core.masking.counts import count_kept
from mae_core.model.autoencoder import MaskedAutoencoder

DROPPED = 0.2
"""The share of times and that of frequencies that the published fine-tuning drops, at any size."""


def certify(numbers: Published) -> Iterator[Check]:
    """One check after the other; the slow one, at full size, last."""
    yield from _pretraining(numbers.read("audiomae"))
    yield from _classifier(numbers.read("audiomae_vit"))
    manifest = numbers.manifest("audiomae_vit_base_patch16")
    yield from check_manifest("ViT-B", manifest, recipe="audio/audiomae_base", layout="audiomae")


def _pretraining(numbers: Numbers) -> Iterator[Check]:
    """Scrambled positions, masking, the encoder, the decoder of local windows, the loss."""
    weights = numbers.weights
    target = {"normalize": "patch" if numbers.size("norm_pix_loss") else "none"}
    decoder = transformer(weights, "decoder_blocks", heads=numbers.size("decoder_num_heads"))
    model = _model(numbers, positions={"name": "sincos_swapped"}, decoder=decoder, target=target)
    exported = export_state_dict(model, layout="audiomae")
    error = worst(largest_error(exported[name], weights[name]) for name in ("pos_embed", "decoder_pos_embed"))
    yield Check("positions, axes swapped", error, 1e-6, "of the encoder and the decoder")
    import_state_dict(model, weights, layout="audiomae")
    error = largest_error_of(export_state_dict(model, layout="audiomae"), weights)
    yield Check("weights, in and out again", error, 0, f"{len(weights)} tensors")
    mask = Mask.from_noise(numbers["noise"], int((numbers["mask"][0] == 0).sum()))
    yield check_mask("pre-training", mask.hidden, numbers["mask"])
    with torch.no_grad():
        out = model({"audio": numbers["x"]}, masks={"audio": mask}, predict="all")
    yield check_prediction("pre-training: prediction", out.pred["audio"], numbers["pred"])
    yield check_loss("pre-training: loss", out.loss, numbers["loss"])


def _classifier(numbers: Numbers) -> Iterator[Check]:
    """The fine-tuning ViT, looking at everything and at some times and frequencies only."""
    task = {"name": "classify", "head": {"name": "linear", "pool": "mean", "norm": "layer"}}
    positions = {"name": "learned", "class_token": True}
    config = _config(numbers, encoder={"final_norm": False}, task=task, positions=positions)
    model = published_classification(config, numbers.weights, layout="audiomae_vit").model.eval()
    grid = model.backbone.input("audio").tokenizer.grid
    mask = drop_times_and_frequencies(grid, numbers["noise_t"], numbers["noise_f"])
    with torch.no_grad():
        logits, masked = model({"audio": numbers["x"]}), model({"audio": numbers["x"]}, {"audio": mask})
    yield check_prediction("fine-tuning: logits", logits, numbers["logits"])
    detail = f"{mask.num_keep} of {grid.num_patches} tokens, absolute"
    yield Check("fine-tuning: logits, tokens dropped", largest_error(masked, numbers["logits_masked"]), PREDICTION, detail)
    yield check_loss("fine-tuning: mean square of these", masked.square().mean(), numbers["loss"])


def drop_times_and_frequencies(grid: Grid, noise_t: Tensor, noise_f: Tensor) -> Mask:
    """The mask that {any: [{random over t}, {random over f}]} makes of the noise that each draws, (B, t) and (B, f)."""
    times = Mask.from_noise(noise_t, count_kept(grid["t"], DROPPED, "kept")).hidden
    frequencies = Mask.from_noise(noise_f, count_kept(grid["f"], DROPPED, "kept")).hidden
    return Mask.from_hidden((times.unsqueeze(2) | frequencies.unsqueeze(1)).flatten(1))


def _model(numbers: Numbers, **audio: Any) -> MaskedAutoencoder:
    """A model of the file's sizes without its weights, in evaluation mode, built as any recipe is."""
    return build_model(_config(numbers, **audio)).eval()


def _config(
    numbers: Numbers, *, encoder: Mapping[str, Any] = {}, task: str | Mapping[str, Any] = "pretrain", **audio: Any
) -> Config:
    """The recipe, of the file's sizes."""
    patch = list(numbers.weights["patch_embed.proj.weight"].shape[2:])
    tokenizer = {"input_size": list(numbers["x"].shape[2:]), "patch_size": patch}
    sizes = transformer(numbers.weights, "blocks", heads=numbers.size("num_heads"))
    model = {"encoder": {**sizes, **encoder}, "modalities": {"audio": {"tokenizer": tokenizer, **audio}}}
    return load_config({"extends": "audio/audiomae_base", "model": model, "task": task})
