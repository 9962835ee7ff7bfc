"""Names and shapes of the published MultiMAE checkpoints: photograph, depth and labels through one encoder."""

from collections.abc import Mapping

from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import Decoder, Layout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.cross_decoder import CrossDecoder
from mae_image.layouts import TABLE_TOLERANCE, patch_size
from mae_image.scenes import SemsegPatches
from mae_image.twin import TwinDecoder
from mae_registry import MaeError

TASKS = {"image": "rgb", "depth": "depth", "semseg": "semseg"}
"""Our modalities and the published tasks."""

DECODER_NAMES = {
    "embed": "proj_context",
    "mask_token": "mask_token",
    "query_norm": "query_norm",
    "context_norm": "context_norm",
    "attention": "decoder",
    "out_norm": "out_norm",
    "mlp": "mlp",
    "blocks": "decoder_transformer",
    "head": "out_proj",
}


class MultiMaeLayout(Layout):
    """A published MultiMAE pre-training checkpoint of any of the three tasks."""

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published -> ours. The fixed position tables are compared."""
        assert isinstance(model, MaskedAutoencoder)
        tables = {name: _as_image(table, model, task) for name, (task, table) in _tables(model).items()}
        names = _names(model)
        if missing := sorted({*names.values(), *tables} - set(state_dict)):
            raise MaeError(f"the checkpoint lacks {', '.join(missing[:4])} and perhaps more: {len(missing)} tensors")
        if extra := sorted(set(state_dict) - {*names.values(), *tables}):
            raise MaeError(f"the checkpoint has {', '.join(extra[:4])}, for which this model has no place")
        for name, table in tables.items():
            if table.shape != state_dict[name].shape or float((table - state_dict[name]).abs().max()) > TABLE_TOLERANCE:
                raise MaeError(
                    f"{name}: the checkpoint's positions differ from this model's; MultiMAE's are row-first sine-cosine"
                )
        return {ours: _reorder(model, ours, state_dict[name], to_published=False) for ours, name in names.items()}

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ours -> published, position tables included."""
        assert isinstance(model, MaskedAutoencoder)
        published = {name: _reorder(model, ours, tensors[ours], to_published=True) for ours, name in _names(model).items()}
        return published | {name: _as_image(table, model, task) for name, (task, table) in _tables(model).items()}


def _names(model: MaskedAutoencoder) -> dict[str, str]:
    """Ours -> published, for every tensor of the model."""
    for modality in model.modalities:
        _decoders(modality, model.parts(modality).decoder)  # refuses another kind
    return {ours: _published(ours) for ours in model.state_dict()}


def _published(ours: str) -> str:
    if ours == "encoder.cls_token":
        return "global_tokens"
    if ours.startswith("encoder.blocks."):
        return "encoder." + ours.removeprefix("encoder.blocks.")
    _, modality, part, *rest = ours.split(".")
    if modality not in TASKS or part not in ("tokenizer", "decoder"):
        raise MaeError(f"{ours}: this layout has no place for it; it knows {', '.join(TASKS)} with fixed positions")
    if part == "tokenizer":
        rest[0] = {"class_embedding": "class_emb"}.get(rest[0], rest[0])
        return ".".join(["input_adapters", TASKS[modality], *rest])
    task = TASKS[modality]
    if rest[0] in ("plain", "normalized"):  # the twin decoder
        task = {"plain": task, "normalized": f"norm_{task}"}[rest.pop(0)]
    if rest[0] == "task_embeddings":
        rest[1] = TASKS[rest[1]]
    elif rest[0] in DECODER_NAMES:
        rest[0] = DECODER_NAMES[rest[0]]
    else:
        raise MaeError(f"{ours}: this layout has no place for it; it knows {', '.join(TASKS)} with fixed positions")
    return ".".join(["output_adapters", task, *rest])


def _reorder(model: MaskedAutoencoder, ours: str, tensor: Tensor, *, to_published: bool) -> Tensor:
    """The order of values in a patch: ours (p q c) as a matrix, theirs a convolution going in and (c p q) coming out."""
    _, modality, *rest = ours.split(".")
    if rest == ["tokenizer", "proj", "weight"]:
        tokenizer = model.parts(modality).tokenizer
        p, q = tokenizer.sides if isinstance(tokenizer, SemsegPatches) else patch_size(tokenizer)
        if to_published:
            return rearrange(tensor, "d (p q c) -> d c p q", p=p, q=q).contiguous()
        return rearrange(tensor, "d c p q -> d (p q c)")
    if modality == "image" and rest[-2:-1] == ["head"]:
        channels = model.parts(modality).tokenizer.sample_shape[0]
        if to_published:
            return rearrange(tensor, "(s c) ... -> (c s) ...", c=channels).contiguous()
        return rearrange(tensor, "(c s) ... -> (s c) ...", c=channels)
    return tensor


def _tables(model: MaskedAutoencoder) -> dict[str, tuple[str, Tensor]]:
    """Published name -> modality and its fixed table (N, D), of encoder and decoder."""
    tables = {}
    for modality in model.modalities:
        parts = model.parts(modality)
        tables[f"input_adapters.{TASKS[modality]}.pos_emb"] = modality, parts.get_buffer("positions.table")
        for task, decoder in _decoders(modality, parts.decoder).items():
            tables[f"output_adapters.{task}.pos_emb"] = modality, decoder.get_buffer(f"positions.{modality}.table")
    return tables


def _decoders(modality: str, decoder: Decoder) -> dict[str, Decoder]:
    """By published task."""
    if isinstance(decoder, TwinDecoder):
        return {TASKS[modality]: decoder.plain, f"norm_{TASKS[modality]}": decoder.normalized}
    if not isinstance(decoder, CrossDecoder):
        raise MaeError(f"this layout needs the decoder 'cross_attention' for {modality}")
    return {TASKS[modality]: decoder}


def _as_image(table: Tensor, model: MaskedAutoencoder, modality: str) -> Tensor:
    """(N, D) -> (1, D, h, w)."""
    grid = model.parts(modality).tokenizer.grid
    return rearrange(table, "(h w) d -> 1 d h w", h=grid["h"]).contiguous()
