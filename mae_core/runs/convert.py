"""Files of published weights <-> checkpoints of this project."""

import warnings
from pathlib import Path

import torch
from safetensors.torch import save

from mae_core.build import build_model
from mae_core.config import load_config
from mae_core.files import write_atomically
from mae_core.layouts.published import export_state_dict, import_state_dict
from mae_core.runs.checkpoint import Checkpoint, load_model, plugin_versions, write_checkpoint
from mae_core.runs.weights import read_weights
from mae_registry import MaeError


def import_file(source: Path, output: Path, *, layout: str, recipe: str) -> None:
    """Published weights -> a checkpoint that every command takes, of the model that `recipe` describes."""
    config = load_config(recipe)
    model = build_model(config)
    missing = import_state_dict(model, read_weights(source).tensors, layout=layout)
    if missing:
        warnings.warn(
            f"layout {layout!r} covers a part of the model only: {len(missing)} tensors keep random values, among them "
            f"{missing[0]}; reconstructions will mean nothing",
            stacklevel=2,
        )
    write_checkpoint(output, Checkpoint(0, config.to_yaml(), model.state_dict(), {}, plugin_versions(config)))


def export_file(source: Path, output: Path, *, layout: str) -> None:
    """A checkpoint's weights by the published names, as .safetensors, or {"model": ...} as .pth."""
    model, _, _ = load_model(source)
    tensors = {name: tensor.contiguous() for name, tensor in export_state_dict(model, layout=layout).items()}
    if output.suffix == ".safetensors":
        write_atomically(output, lambda file: file.write(save(tensors)))
    elif output.suffix == ".pth":
        write_atomically(output, lambda file: torch.save({"model": tensors}, file))
    else:
        raise MaeError(f"{output}: the ending of the name decides how the file is written; use .safetensors or .pth")
