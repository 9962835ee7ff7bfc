"""`mae verify audio`: this installation against the numbers of the published implementation."""

import json
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from mae_audio.classifier import SpectrogramClassifier, keep_times_and_frequencies
from mae_core import build_model, load_config
from mae_core.interfaces import Check, Mask
from mae_core.layouts import export_state_dict, import_state_dict
from mae_core.model import MaskedAutoencoder

NUM_HEADS = 4
NUM_KEPT = 102
LOSS, PREDICTION = 2e-6, 5e-6
"""Tolerances in float32: the loss relative, predictions and logits absolute."""


def certify() -> Iterator[Check]:
    """One check after the other; the slow one, at full size, last."""
    yield from _pretraining()
    yield from _classifier()
    yield from _manifest()


def _pretraining() -> Iterator[Check]:
    """Scrambled positions, masking, the encoder, the decoder of local windows, the loss."""
    golden = _tensors("audiomae")
    state = _state_dict(golden)
    model = _small_model(state)
    exported = export_state_dict(model, layout="audiomae")
    tables = ("pos_embed", "decoder_pos_embed")
    error = max(_largest(exported[name], state[name]) for name in tables)
    yield Check("positions, axes swapped", error, 1e-6, "of the encoder and the decoder")
    import_state_dict(model, state, layout="audiomae")
    exported = export_state_dict(model, layout="audiomae")
    error = max(_largest(exported[name], tensor) for name, tensor in state.items())
    yield Check("weights, in and out again", error, 0, f"{len(state)} tensors")
    mask = Mask.from_noise(golden["noise"], NUM_KEPT)
    with torch.no_grad():
        out = model({"audio": golden["x"]}, masks={"audio": mask}, predict="all")
    yield Check("pre-training: mask", _largest(mask.hidden.float(), golden["mask"]), 0)
    yield Check("pre-training: prediction", _largest(out.pred["audio"], golden["pred"]), PREDICTION, "of all patches, absolute")
    yield Check("pre-training: loss", _relative(out.loss, golden["loss"]), LOSS, f"{float(out.loss):.6f}, relative")


def _classifier() -> Iterator[Check]:
    """The fine-tuning ViT, looking at everything and at some times and frequencies only."""
    golden = _tensors("audiomae_vit")
    state = _state_dict(golden)
    model = SpectrogramClassifier(_small_model(state, positions="learned"), len(state["head.bias"])).eval()
    import_state_dict(model, state, layout="audiomae_vit")
    ids_keep = keep_times_and_frequencies(model.tokenizer.grid, golden["noise_t"], golden["noise_f"], ratio_t=0.2, ratio_f=0.2)
    with torch.no_grad():
        logits, masked = model(golden["x"]), model(golden["x"], ids_keep)
    yield Check("fine-tuning: logits", _largest(logits, golden["logits"]), PREDICTION, "absolute")
    detail = f"{ids_keep.shape[1]} of {model.tokenizer.grid.num_patches} tokens, absolute"
    yield Check("fine-tuning: logits, tokens dropped", _largest(masked, golden["logits_masked"]), PREDICTION, detail)
    loss = masked.square().mean()
    yield Check("fine-tuning: mean square of these", _relative(loss, golden["loss"]), LOSS, f"{float(loss):.6f}, relative")


def _manifest() -> Iterator[Check]:
    """The pre-training checkpoint's names and shapes into the full-size model and back, without memory for its values."""
    manifest = json.loads(_published("audiomae_vit_base_patch16.json"))
    expected = {name: tuple(shape) for name, shape in manifest["state_dict"].items()}
    with torch.device("meta"):
        model = build_model(load_config("audio/audiomae_base"))
        state = {name: torch.empty(shape) for name, shape in expected.items()}
    import_state_dict(model, state, layout="audiomae")  # raises if a tensor is missing, left over, or of another shape
    exported = {name: tuple(tensor.shape) for name, tensor in export_state_dict(model, layout="audiomae").items()}
    differing = exported.items() ^ expected.items()
    yield Check("ViT-B checkpoint: names and shapes", len(differing), 0, f"{len(exported)} tensors, both ways")
    total = sum(math.prod(shape) for shape in exported.values())
    yield Check("ViT-B checkpoint: parameters", abs(total - manifest["num_parameters"]), 0, f"{total:,}")
    trained = sum(p.numel() for p in model.parameters())
    yield Check("ViT-B checkpoint: trained parameters", abs(trained - manifest["num_trainable"]), 0, f"{trained:,}")


def _small_model(state: Mapping[str, Tensor], *, positions: str = "sincos_swapped") -> MaskedAutoencoder:
    """A model of the golden file's sizes, in evaluation mode, built as any recipe is; its decoder where the file has one."""
    parts: dict[str, Any] = {"positions": {"name": positions}}
    if "mask_token" in state:
        parts["decoder"] = {"width": state["mask_token"].shape[-1]}
    encoder = {"width": state["cls_token"].shape[-1], "depth": _depth(state), "heads": NUM_HEADS}
    model = {"encoder": encoder, "modalities": {"audio": parts}}
    return build_model(load_config({"extends": "audio/audiomae_base", "model": model})).eval()


def _depth(state: Mapping[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("blocks.")})


def _state_dict(golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "state_dict/"
    return {name.removeprefix(prefix): tensor for name, tensor in golden.items() if name.startswith(prefix)}


def _published(name: str) -> bytes:
    return (resources.files("mae_audio") / "published" / name).read_bytes()


def _tensors(name: str) -> dict[str, Tensor]:
    return load(_published(f"{name}.safetensors"))


def _largest(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    return float((found.double() - expected.double()).abs().max())


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs() / expected.double().abs())
