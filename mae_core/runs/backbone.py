"""The backbone alone: `encoder.safetensors`, written at the end of a run, and read for features."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mae_core.build import build_backbone
from mae_core.config import Config, load_config
from mae_core.files import write_atomically
from mae_core.layouts.published import import_state_dict
from mae_core.model.backbone import Backbone
from mae_core.runs.checkpoint import DamagedCheckpoint, find_checkpoint, load_config_text, require_plugins
from mae_core.runs.convert import read_weights
from mae_registry import MaeError

PREFIX = "backbone."
"""What the backbone's names begin with in a checkpoint."""
TEACHER = "teachers.0."
"""What those of the first teacher begin with."""


def save_backbone(backbone: Backbone, config: Config, path: Path) -> None:
    """Weights by this project's names; the recipe is in the file's metadata, so that it can be read without anything else."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    content = save(tensors, metadata={"config": config.to_yaml()})
    write_atomically(path, lambda file: file.write(content))


def load_backbone(path: str | Path, *, recipe: str | None = None, layout: str | None = None, teacher: bool = False) -> Backbone:
    """The backbone of a run's folder, of a checkpoint, or of an `encoder.safetensors`, in evaluation mode, on the CPU.

    Published weights are read with the `recipe` of the model that they belong to and the name of their `layout`. With
    `teacher`, it is the moving average that a run's targets learn from, which only its checkpoints hold.

        backbone = mae_core.load_backbone("runs/mine")
        latent = backbone.encode({"image": x})      # .tokens (B, N, D), .prefix, .pooled("mean")

    Raises MaeError for a file that is none of these.
    """
    path = Path(path)
    if recipe is not None or layout is not None:
        return _published(path, recipe, layout)
    if path.suffix == ".safetensors" and not teacher:
        config, tensors = _of_safetensors(path)
    else:
        config, tensors = _of_checkpoint(path, TEACHER if teacher else PREFIX)
    backbone = build_backbone(config)
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise MaeError(f"{path} does not fit the backbone that its own recipe describes here: {error}") from error
    return backbone.eval()


def _published(path: Path, recipe: str | None, layout: str | None) -> Backbone:
    if recipe is None or layout is None:
        raise MaeError("published weights need both the recipe of their model and the name of their layout")
    backbone = build_backbone(load_config(recipe))
    import_state_dict(backbone, read_weights(path), layout=layout)
    return backbone.eval()


def _of_checkpoint(path: Path, prefix: str) -> tuple[Config, dict[str, Tensor]]:
    checkpoint = find_checkpoint(path)
    require_plugins(checkpoint, path)
    own = {name.removeprefix(prefix): tensor for name, tensor in checkpoint.model.items() if name.startswith(prefix)}
    if not own:
        raise MaeError(f"the model of {path} has no teacher; its recipe's targets declare none")
    return load_config_text(checkpoint.config), own


def _of_safetensors(path: Path) -> tuple[Config, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except FileNotFoundError:
        raise MaeError(f"there is no file {path.absolute()}") from None
    except (SafetensorError, OSError) as error:
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from error
    if "config" not in metadata:
        raise MaeError(
            f"{path} does not say which model it belongs to, as the encoder.safetensors of a run does; for published weights, "
            "name the recipe of their model and their layout"
        )
    return load_config_text(metadata["config"]), tensors
