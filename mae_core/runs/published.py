"""Published weights -> models of this project, of which nobody has to say what they are."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_core.build import build_backbone, build_model
from mae_core.config import Config, load_config
from mae_core.layouts.published import import_state_dict
from mae_core.layouts.recognize import Recognized, recognize
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.runs.weights import Weights
from mae_registry import MaeError

Say = Callable[[str], object]
"""What is told one sentence about a published file."""


@dataclass(frozen=True)
class Origin:
    """What the user says about published weights. What is None is recognised."""

    layout: str | None = None
    recipe: str | None = None
    overrides: Sequence[str] = ()
    averaged: bool = False
    """Take the moving average of the weights, where a file has one beside the plain ones."""
    say: Say | None = None


def published_backbone(weights: Weights, path: Path, origin: Origin) -> tuple[Backbone, Config]:
    """The backbone of published weights, on the CPU, and a recipe of its model."""
    return _backbone(_recognize(weights, path, origin), weights, path, origin)


def published_model(weights: Weights, path: Path, origin: Origin, *, partial: bool = False) -> tuple[MaskedAutoencoder, Config]:
    """The whole model of published weights, on the CPU, and its recipe.

    Raises MaeError for weights of a backbone alone, unless `partial`: then the rest has random weights, and a warning says so.
    """
    recognized = _recognize(weights, path, origin)
    if recognized is not None and not recognized.found.complete and not partial:
        raise MaeError(
            f"{path} holds {recognized.found.title}, and no decoder: mae_core.load_backbone reads it, and so do the commands "
            "that need an encoder alone"
        )
    model, config, missing = _model(recognized, weights, path, origin)
    if missing:
        warnings.warn(
            f"{path} covers a part of the model only: {len(missing)} tensors keep random values, among them {missing[0]}; "
            "reconstructions will mean nothing",
            stacklevel=2,
        )
    return model, config


def published_whole_or_backbone(weights: Weights, path: Path, origin: Origin) -> tuple[MaskedAutoencoder | Backbone, Config]:
    """As much of a model as there are weights of."""
    recognized = _recognize(weights, path, origin)
    if recognized is not None and not recognized.found.complete:
        return _backbone(recognized, weights, path, origin)
    model, config, missing = _model(recognized, weights, path, origin)
    return (model.backbone if missing else model), config


def _backbone(recognized: Recognized | None, weights: Weights, path: Path, origin: Origin) -> tuple[Backbone, Config]:
    config, layout = _settle(recognized, path, origin, backbone=True)
    backbone = build_backbone(config)
    import_state_dict(backbone, weights.tensors, layout=layout)
    return backbone.eval(), config


def _model(
    recognized: Recognized | None, weights: Weights, path: Path, origin: Origin
) -> tuple[MaskedAutoencoder, Config, list[str]]:
    """Also the names of the tensors that keep random values."""
    config, layout = _settle(recognized, path, origin, backbone=False)
    model = build_model(config, fresh=False)
    if recognized is None or recognized.found.complete:
        return model.eval(), config, import_state_dict(model, weights.tensors, layout=layout)
    missing = import_state_dict(model.backbone, weights.tensors, layout=layout)
    model.teachers.copy_from(model.backbone)
    others = [name for name in model.state_dict() if not name.startswith(("backbone.", "teachers."))]
    return model.eval(), config, [*missing, *others]


def _recognize(weights: Weights, path: Path, origin: Origin) -> Recognized | None:
    """None where the user says everything."""
    if origin.recipe is not None and origin.layout is not None:
        return None
    try:
        recognized = recognize(weights.tensors, weights.beside, layout=origin.layout)
    except MaeError as error:
        raise MaeError(f"{path}: {error}") from error
    if origin.say is not None:
        origin.say("; ".join([f"{path}: {recognized.sentence(origin.overrides)}", *weights.notes]))
    return recognized


def _settle(recognized: Recognized | None, path: Path, origin: Origin, *, backbone: bool) -> tuple[Config, str]:
    """The recipe and the layout."""
    if recognized is None:
        assert origin.recipe is not None
        assert origin.layout is not None
        return load_config(origin.recipe, origin.overrides), origin.layout
    try:
        recipe = origin.recipe or recognized.recipe(origin.overrides, backbone=backbone)
    except MaeError as error:
        raise MaeError(f"{path}: {error}") from error
    return load_config(recipe, origin.overrides), recognized.layout
