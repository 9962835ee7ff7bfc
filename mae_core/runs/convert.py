"""Files of published weights <-> checkpoints of this project."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mae_core.build import build_model
from mae_core.config import load_config
from mae_core.files import write_atomically
from mae_core.layouts.published import export_state_dict, import_state_dict
from mae_core.runs.checkpoint import Checkpoint, DamagedCheckpoint, load_model, load_tensors, plugin_versions, write_checkpoint
from mae_registry import MaeError


def import_file(source: Path, output: Path, *, layout: str, recipe: str) -> None:
    """Published weights -> a checkpoint that every command takes, of the model that `recipe` describes."""
    config = load_config(recipe)
    model = build_model(config)
    missing = import_state_dict(model, read_weights(source), layout=layout)
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


def read_weights(source: Path) -> Mapping[str, Tensor]:
    """Tensors by name, from .safetensors or from a `torch.save` file, which may hold them under "model" as MAE's do."""
    if source.suffix == ".safetensors":
        try:
            return load_file(source)
        except FileNotFoundError:
            raise MaeError(f"there is no file {source.absolute()}") from None
        except (SafetensorError, OSError) as error:
            raise DamagedCheckpoint(f"{source} is damaged: {error}") from error
    content: Any = load_tensors(source)
    weights = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise MaeError(f"{source} has no named tensors, neither at the top nor under 'model'")
    return weights
