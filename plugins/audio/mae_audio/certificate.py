"""`mae verify audio`: this installation against the numbers of the published implementation."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_audio.classifier import SpectrogramClassifier, keep_times_and_frequencies
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
from mae_core.model.autoencoder import MaskedAutoencoder

NUM_HEADS = 4
NUM_KEPT = 102
PUBLISHED = Published("mae_audio")


def certify() -> Iterator[Check]:
    """One check after the other; the slow one, at full size, last."""
    yield from _pretraining()
    yield from _classifier()
    manifest = PUBLISHED.manifest("audiomae_vit_base_patch16")
    yield from check_manifest("ViT-B", manifest, recipe="audio/audiomae_base", layout="audiomae")


def _pretraining() -> Iterator[Check]:
    """Scrambled positions, masking, the encoder, the decoder of local windows, the loss."""
    golden = PUBLISHED.tensors("audiomae")
    state = state_dict_of(golden)
    model = _small_model(state)
    exported = export_state_dict(model, layout="audiomae")
    tables = ("pos_embed", "decoder_pos_embed")
    error = worst(largest_error(exported[name], state[name]) for name in tables)
    yield Check("positions, axes swapped", error, 1e-6, "of the encoder and the decoder")
    import_state_dict(model, state, layout="audiomae")
    exported = export_state_dict(model, layout="audiomae")
    error = worst(largest_error(exported[name], tensor) for name, tensor in state.items())
    yield Check("weights, in and out again", error, 0, f"{len(state)} tensors")
    mask = Mask.from_noise(golden["noise"], NUM_KEPT)
    with torch.no_grad():
        out = model({"audio": golden["x"]}, masks={"audio": mask}, predict="all")
    yield Check("pre-training: mask", largest_error(mask.hidden.float(), golden["mask"]), 0)
    yield Check(
        "pre-training: prediction", largest_error(out.pred["audio"], golden["pred"]), PREDICTION, "of all patches, absolute"
    )
    yield Check("pre-training: loss", relative_error(out.loss, golden["loss"]), LOSS, f"{float(out.loss):.6f}, relative")


def _classifier() -> Iterator[Check]:
    """The fine-tuning ViT, looking at everything and at some times and frequencies only."""
    golden = PUBLISHED.tensors("audiomae_vit")
    state = state_dict_of(golden)
    model = SpectrogramClassifier(_small_model(state, positions="learned"), len(state["head.bias"])).eval()
    import_state_dict(model, state, layout="audiomae_vit")
    ids_keep = keep_times_and_frequencies(model.tokenizer.grid, golden["noise_t"], golden["noise_f"], ratio_t=0.2, ratio_f=0.2)
    with torch.no_grad():
        logits, masked = model(golden["x"]), model(golden["x"], ids_keep)
    yield Check("fine-tuning: logits", largest_error(logits, golden["logits"]), PREDICTION, "absolute")
    detail = f"{ids_keep.shape[1]} of {model.tokenizer.grid.num_patches} tokens, absolute"
    yield Check("fine-tuning: logits, tokens dropped", largest_error(masked, golden["logits_masked"]), PREDICTION, detail)
    loss = masked.square().mean()
    yield Check("fine-tuning: mean square of these", relative_error(loss, golden["loss"]), LOSS, f"{float(loss):.6f}, relative")


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
