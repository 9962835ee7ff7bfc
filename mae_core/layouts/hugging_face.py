"""What the layouts of Hugging Face's models have in common: names of blocks, old and new, and what lies beside weights."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mae_core.layouts.shapes import depth, mlp_ratio
from mae_registry import MaeError

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
"""The files of a model's folder."""

BLOCK: Mapping[str, Sequence[str]] = {
    "norm1.weight": ("layernorm_before.weight",),
    "norm1.bias": ("layernorm_before.bias",),
    "norm2.weight": ("layernorm_after.weight",),
    "norm2.bias": ("layernorm_after.bias",),
    "attn.qkv.weight": tuple(f"attention.attention.{part}.weight" for part in ("query", "key", "value")),
    "attn.proj.weight": ("attention.output.dense.weight",),
    "attn.proj.bias": ("attention.output.dense.bias",),
    "mlp.fc1.weight": ("intermediate.dense.weight",),
    "mlp.fc1.bias": ("intermediate.dense.bias",),
    "mlp.fc2.weight": ("output.dense.weight",),
    "mlp.fc2.bias": ("output.dense.bias",),
}
"""A block's names here, and theirs: `pieces` of a table. The biases of query, key and value differ from model to model."""

_NEWER = (
    (r"(?<=\.)attention\.q_proj\.", "attention.attention.query."),
    (r"(?<=\.)attention\.k_proj\.", "attention.attention.key."),
    (r"(?<=\.)attention\.v_proj\.", "attention.attention.value."),
    (r"(?<=\.)attention\.o_proj\.", "attention.output.dense."),
    (r"(?<=\.)mlp\.fc1\.", "intermediate.dense."),
    (r"(?<=\.)mlp\.fc2\.", "output.dense."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
)
"""What later versions of the library call parts of a block, and what files on the hub do."""


def older_names(weights: Mapping[str, Tensor], *, prefix: str) -> dict[str, Tensor]:
    """Tensors by the names of files on the hub, whichever version they are from, and whether saved with a decoder or without.

    `prefix`: what the encoder's names begin with in the whole model.
    """
    return {_older(name, prefix): tensor for name, tensor in weights.items()}


def _older(name: str, prefix: str) -> str:
    if name.startswith(("embeddings.", "encoder.layer.", "layers.", "layernorm.", "pooler.")):
        name = prefix + name
    name = re.sub(rf"^{re.escape(prefix)}layers\.", f"{prefix}encoder.layer.", name)
    for newer, older in _NEWER:
        name = re.sub(newer, older, name)
    return name


def transformer(weights: Mapping[str, Tensor], layers: str) -> dict[str, Any]:
    """The width, the depth and the MLPs of the blocks that are named LAYERS.NUMBER."""
    hidden, width = weights[f"{layers}.0.intermediate.dense.weight"].shape
    return {"width": width, "depth": depth(weights, layers), "mlp_ratio": mlp_ratio(hidden, width)}


def described(blocks: nn.Module, *, prefix: str = "") -> dict[str, int]:
    """The entries of a `config.json` for these blocks of ours; `prefix` is the decoder's."""
    assert isinstance(blocks, nn.ModuleList)
    first = blocks[0]
    hidden, width = first.get_parameter("mlp.fc1.weight").shape
    attention = first.get_submodule("attn")
    return {
        f"{prefix}hidden_size": width,
        f"{prefix}num_hidden_layers": len(blocks),
        f"{prefix}num_attention_heads": int(getattr(attention, "num_heads")),  # noqa: B009 - a module's attributes have no types
        f"{prefix}intermediate_size": hidden,
    }


def one_side(sides: Sequence[int], what: str) -> int:
    """Of a square. Raises MaeError for another shape."""
    if len(set(sides)) > 1:
        raise MaeError(f"this layout has only squares for {what}; the model has {' x '.join(map(str, sides))}")
    return sides[0]


def values_of(buffer: Tensor) -> list[float]:
    """Of a mean or a deviation a channel, as they were written."""
    return [round(float(value), 6) for value in buffer.flatten().to(torch.float64)]


COMMON = {
    "attention_probs_dropout_prob": 0.0,
    "dtype": "float32",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-6,
}
"""Entries of `config.json` that are the same for every model of ours."""
