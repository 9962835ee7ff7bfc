"""Names and shapes of the published MultiMAE checkpoints: photograph, depth and labels through one encoder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import Decoder, Found
from mae_core.layouts.forms import Convolution, Form, PositionTable
from mae_core.layouts.shapes import FAMILY_HEADS, depth, has, mlp_ratio, patches, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, Table, TableLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.parts.cross_decoder import CrossDecoder
from mae_image.twin import TwinDecoder
from mae_registry import MaeError

TASKS = {"image": "rgb", "depth": "depth", "semseg": "semseg"}
"""Our modalities and the published tasks."""

DECODER_HEADS = {256: 8}
"""Of the published decoders, by their width."""
LABEL_STRIDE = 4
"""Pixels of the photograph for one label."""

DECODER_NAMES = {
    "embed.": "proj_context.",
    "mask_token": "mask_token",
    "query_norm.": "query_norm.",
    "context_norm.": "context_norm.",
    "attention.": "decoder.",
    "out_norm.": "out_norm.",
    "mlp.": "mlp.",
    "blocks.": "decoder_transformer.",
    "head.": "out_proj.",
}


class MultiMaeLayout(TableLayout):
    """A published MultiMAE pre-training checkpoint of any of the three tasks."""

    modality = ""  # several

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """The model of all three tasks."""
        adapters = [f"{side}_adapters.{task}." for side in ("input", "output") for task in TASKS.values()]
        if not has(weights, "global_tokens", "encoder.0.attn.qkv.weight", "output_adapters.norm_rgb.", *adapters):
            return None
        encoder = transformer(weights, "encoder")
        modalities = {entry: _sizes_of(weights, task) for entry, task in TASKS.items()}
        assumed: dict[str, Any] = {"model.encoder.heads": FAMILY_HEADS.get(encoder["width"])}
        for entry, section in modalities.items():
            assumed[f"model.modalities.{entry}.decoder.heads"] = DECODER_HEADS.get(section["decoder"]["width"])
        model = {"encoder": encoder, "modalities": modalities}
        return Found("a MultiMAE of photographs, depth and labels", "image/multimae_base", model, assumed)

    def table(self, model: nn.Module, entry: str) -> Table:
        """The table of all modalities. Raises MaeError for modalities that MultiMAE does not have, and for another decoder."""
        backbone = model.backbone if isinstance(model, MaskedAutoencoder) else model
        assert isinstance(backbone, Backbone)
        tasks = _tasks(backbone)
        names: dict[str, str | None] = {ENCODER + "cls_token": "global_tokens", ENCODER + "blocks.": "encoder."}
        positions: dict[str, PositionTable] = {}
        forms: dict[str, Form] = {}
        for own, task in tasks.items():
            tokenizer = backbone.input(own).tokenizer
            ours = INPUT.format(entry=own)
            names[ours + "tokenizer.class_embedding."] = f"input_adapters.{task}.class_emb."
            names[ours + "tokenizer."] = f"input_adapters.{task}."
            forms[ours + "tokenizer.proj.weight"] = Convolution(self.patch_sides(tokenizer))
            positions[ours + "positions"] = PositionTable(f"input_adapters.{task}.pos_emb", planes=tokenizer.grid.sizes)
            if not isinstance(model, MaskedAutoencoder):
                names[DECODER.format(entry=own)] = "output_adapters."
                continue
            for decoder, adapter in _decoders(own, task, model.parts(own).decoder):
                names |= {decoder + ours: f"output_adapters.{adapter}.{name}" for ours, name in DECODER_NAMES.items()}
                names |= {
                    f"{decoder}task_embeddings.{other}": f"output_adapters.{adapter}.task_embeddings.{published}"
                    for other, published in tasks.items()
                }
                table = PositionTable(f"output_adapters.{adapter}.pos_emb", planes=tokenizer.grid.sizes)
                positions[f"{decoder}positions.{own}"] = table
                if task == "rgb":
                    forms |= {f"{decoder}head.{kind}": ChannelsFirst(tokenizer.sample_shape[0]) for kind in ("weight", "bias")}
        return Table(names=names, positions=positions, forms=forms)


def _sizes_of(weights: Mapping[str, Tensor], task: str) -> dict[str, Any]:
    """The sections `tokenizer` and `decoder` of a task."""
    adapter = f"output_adapters.{task}"
    hidden, width = weights[f"{adapter}.mlp.fc1.weight"].shape
    decoder = {
        "width": width,
        "depth": depth(weights, f"{adapter}.decoder_transformer"),
        "mlp_ratio": mlp_ratio(hidden, width),
    }
    tokenizer = patches(weights[f"input_adapters.{task}.proj.weight"])
    sides, grid = tokenizer["patch_size"], weights[f"input_adapters.{task}.pos_emb"].shape[2:]
    if task == "semseg":
        classes, class_width = weights[f"input_adapters.{task}.class_emb.weight"].shape
        sides = [side * LABEL_STRIDE for side in sides]
        tokenizer = {"num_classes": classes, "class_width": class_width, "patch_size": sides, "stride": LABEL_STRIDE}
    elif task == "depth":
        tokenizer = {"patch_size": sides}
    tokenizer["input_size"] = [side * number for side, number in zip(sides, grid, strict=True)]
    return {"tokenizer": tokenizer, "decoder": decoder}


@dataclass(frozen=True)
class ChannelsFirst:
    """A prediction whose values are in the order (channel, pixel); ours are (pixel, channel)."""

    channels: int

    def to_ours(self, tensor: Tensor) -> Tensor:
        """(c s) -> (s c)."""
        return rearrange(tensor, "(c s) ... -> (s c) ...", c=self.channels)

    def to_published(self, tensor: Tensor) -> Tensor:
        """(s c) -> (c s)."""
        return rearrange(tensor, "(s c) ... -> (c s) ...", c=self.channels).contiguous()


def _tasks(backbone: Backbone) -> dict[str, str]:
    """The published task of each of its modalities."""
    types = backbone.types
    if unknown := [entry for entry, modality in types.items() if modality not in TASKS]:
        raise MaeError(
            f"this layout has no place for {', '.join(unknown)}; it has a place for one modality each of {', '.join(TASKS)}"
        )
    if len(set(types.values())) < len(types):
        raise MaeError(
            f"this layout has a place for one modality each of {', '.join(TASKS)}, "
            f"but the model has {', '.join(types.values())}"
        )
    return {entry: TASKS[modality] for entry, modality in types.items()}


def _decoders(entry: str, task: str, decoder: Decoder) -> Iterator[tuple[str, str]]:
    """The place of each decoder of a modality in the model, and its published task."""
    ours = DECODER.format(entry=entry)
    if isinstance(decoder, TwinDecoder):
        yield from ((f"{ours}plain.", task), (f"{ours}normalized.", f"norm_{task}"))
    elif isinstance(decoder, CrossDecoder):
        yield ours, task
    else:
        raise MaeError(f"this layout needs the decoder 'cross_attention' for {entry}")
