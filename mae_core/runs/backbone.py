"""The backbone alone: `encoder.safetensors`, written at the end of a run, and read for features."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from mae_core.build import build_backbone
from mae_core.config import Config
from mae_core.files import write_atomically
from mae_core.model.backbone import Backbone
from mae_core.runs.checkpoint import Checkpoint, load_config_text, open_checkpoint, require_plugins
from mae_core.runs.published import Origin, Say, published_backbone
from mae_core.runs.weights import Weights
from mae_registry import MaeError

PREFIX = "backbone."
"""What the backbone's names begin with in a checkpoint."""
TEACHER = "teachers.0."
"""What those of the first teacher begin with."""
AVERAGE = "average.backbone."
"""What those of the averaged weights of a classifier begin with, which count where there are any."""


def save_backbone(backbone: Backbone, config: Config, path: Path) -> None:
    """Weights by this project's names; the recipe is in the file's metadata, so that it can be read without anything else."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    content = save(tensors, metadata={"config": config.to_yaml()})
    write_atomically(path, lambda file: file.write(content))


def load_backbone(
    path: str | Path,
    *,
    teacher: bool = False,
    recipe: str | None = None,
    layout: str | None = None,
    overrides: Sequence[str] = (),
    say: Say | None = None,
) -> Backbone:
    """The backbone of a run's folder, of a checkpoint, of an `encoder.safetensors` or of a published file, in evaluation mode,
    on the CPU.

    With `teacher`, it is the moving average that a run's targets learn from, which only its checkpoints hold. Published weights
    are recognised by their names and shapes: `recipe` and `layout` say what they are where they are not, `overrides`
    ("key.path=value") what neither shows, and `say` is called with a sentence of what they were found to be.

        backbone = mae_core.load_backbone("runs/mine")
        latent = backbone.encode({"image": x})      # .tokens (B, N, D), .prefix, .pooled("mean")

    Raises MaeError for a file that is none of these.
    """
    return load_backbone_and_config(path, Origin(layout, recipe, overrides, say=say), teacher=teacher)[0]


def load_backbone_and_config(
    path: str | Path, origin: Origin | None = None, *, teacher: bool = False
) -> tuple[Backbone, Config]:
    """As `load_backbone`, with the recipe of the model."""
    path, origin = Path(path), origin or Origin()
    opened = open_checkpoint(path, averaged=origin.averaged)
    if isinstance(opened, Checkpoint) or "config" in opened.metadata:
        return backbone_of(opened, path, teacher=teacher)
    if teacher:
        raise MaeError(f"{path} has no teacher; only this project's checkpoints have one")
    return published_backbone(opened, path, origin)


def backbone_of(opened: Checkpoint | Weights, path: Path, *, teacher: bool = False) -> tuple[Backbone, Config]:
    """The backbone of a checkpoint or of an `encoder.safetensors` that was read from `path`, and its recipe."""
    if isinstance(opened, Checkpoint):
        config, tensors = _of_checkpoint(opened, path, TEACHER if teacher else PREFIX)
    elif teacher:
        raise MaeError(f"{path} has no teacher, only the encoder; the run's checkpoints have both")
    else:
        config, tensors = load_config_text(opened.metadata["config"]), dict(opened.tensors)
    backbone = build_backbone(config)
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise MaeError(f"{path} does not fit the backbone that its own recipe describes here: {error}") from error
    return backbone.eval(), config


def _of_checkpoint(checkpoint: Checkpoint, path: Path, prefix: str) -> tuple[Config, dict[str, Tensor]]:
    require_plugins(checkpoint, path)
    if prefix == PREFIX and any(name.startswith(AVERAGE) for name in checkpoint.model):
        prefix = AVERAGE
    own = {name.removeprefix(prefix): tensor for name, tensor in checkpoint.model.items() if name.startswith(prefix)}
    if not own:
        raise MaeError(f"the model of {path} has no teacher; its recipe's targets declare none")
    return load_config_text(checkpoint.config), own
