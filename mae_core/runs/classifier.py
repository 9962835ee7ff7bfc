"""The classifier of a run: a backbone with its head, as fine-tuning and probing leave them in their checkpoints."""

from pathlib import Path

from torch import Tensor

from mae_core.build import build_backbone
from mae_core.config import Config
from mae_core.model.classifier import Classifier
from mae_core.registry import build_component
from mae_core.runs.checkpoint import Checkpoint, load_config_text, require_plugins
from mae_registry import MaeError

AVERAGE = "average."
"""What the names of the averaged weights begin with, which count where there are any."""
SCORES = "head.linear.weight"
"""The matrix that has a row for each class."""


def classifier_of(checkpoint: Checkpoint, path: Path) -> tuple[Classifier, Config]:
    """The classifier of a checkpoint that was read from `path`, and its recipe.

    Averaged weights are taken where there are any. Raises MaeError where the head is not linear.
    """
    require_plugins(checkpoint, path)
    config, tensors = load_config_text(checkpoint.config), _weights(checkpoint)
    if SCORES not in tensors:
        raise MaeError(f"{path} has no linear head, and this layout is for classifiers that have one")
    backbone = build_backbone(config)
    head = build_component("heads", config["task.head"], backbone.encoder.width, len(tensors[SCORES]))
    model = Classifier(backbone, head)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise MaeError(f"{path} does not fit the classifier that its own recipe describes here: {error}") from error
    return model.eval(), config


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    averaged = {name.removeprefix(AVERAGE): tensor for name, tensor in checkpoint.model.items() if name.startswith(AVERAGE)}
    return averaged or dict(checkpoint.model)
