"""Published weights -> models of this project, of which nobody has to say what they are."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mae_core.build import build_backbone, build_model
from mae_core.config import Config, load_config
from mae_core.interfaces import Found
from mae_core.layouts.published import import_state_dict
from mae_core.layouts.recognize import recognize
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
    say: Say | None = None


def published_backbone(weights: Weights, path: Path, origin: Origin) -> tuple[Backbone, Config]:
    """The backbone of published weights, on the CPU, and a recipe of its model."""
    config, layout, _ = _what(weights, path, origin, backbone=True)
    backbone = build_backbone(config)
    import_state_dict(backbone, weights.tensors, layout=layout)
    return backbone.eval(), config


def published_model(weights: Weights, path: Path, origin: Origin, *, partial: bool = False) -> tuple[MaskedAutoencoder, Config]:
    """The whole model of published weights, on the CPU, and its recipe.

    Raises MaeError for weights of a backbone alone, unless `partial`: then the rest has random weights, and a warning says so.
    """
    config, layout, found = _what(weights, path, origin, backbone=False)
    if found is not None and not found.complete and not partial:
        raise MaeError(
            f"{path} holds {found.title}, and no decoder: mae_core.load_backbone reads it, and so do the commands that need an "
            "encoder alone"
        )
    model = build_model(config, fresh=False)
    missing = import_state_dict(model, weights.tensors, layout=layout)
    if missing:
        warnings.warn(
            f"layout {layout!r} covers a part of the model only: {len(missing)} tensors keep random values, among them "
            f"{missing[0]}; reconstructions will mean nothing",
            stacklevel=2,
        )
    return model.eval(), config


def _what(weights: Weights, path: Path, origin: Origin, *, backbone: bool) -> tuple[Config, str, Found | None]:
    """The recipe, the layout, and what was recognised, if anything had to be."""
    if origin.recipe is not None and origin.layout is not None:
        return load_config(origin.recipe, origin.overrides), origin.layout, None
    try:
        recognized = recognize(weights.tensors, weights.beside, layout=origin.layout)
        recipe = origin.recipe or recognized.recipe(origin.overrides, backbone=backbone)
    except MaeError as error:
        raise MaeError(f"{path}: {error}") from error
    if origin.say is not None:
        origin.say("; ".join([f"{path}: {recognized.sentence(origin.overrides)}", *weights.notes]))
    return load_config(recipe, origin.overrides), recognized.layout, recognized.found
