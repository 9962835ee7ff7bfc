"""Published weights for samples of another size than they were trained with."""

import json
from dataclasses import replace
from pathlib import Path

from mae_core.build import build_backbone, build_model
from mae_core.config import Config, load_config
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.model.transfer import transfer
from mae_core.runs.init import take_the_rest
from mae_core.runs.published import Origin, published_whole_or_backbone
from mae_core.runs.weights import Weights
from mae_registry import MaeError

SIZE = ".tokenizer.input_size"
"""How the keys end of which the positions depend."""


def published_resized(weights: Weights, path: Path, origin: Origin) -> tuple[MaskedAutoencoder | Backbone, Config]:
    """As much of a model as there are weights of, for samples of the size that `origin` asks for.

    Positions become learned ones, those of the published grid resized bicubically. A decoder keeps its fixed positions, which
    are computed for the new grid. Raises MaeError for models of which that cannot be said.
    """
    sizes = [override for override in origin.overrides if override.partition("=")[0].strip().endswith(SIZE)]
    if not sizes and origin.recipe is None:
        raise MaeError("--interpolate needs the size to resize for, as model.modalities.NAME.tokenizer.input_size=[...]")
    kept = [override for override in origin.overrides if override not in sizes]
    old, own = published_whole_or_backbone(weights, path, replace(origin, recipe=None, overrides=kept))
    wanted = own.to_dict() if origin.recipe is None else load_config(origin.recipe, origin.overrides).to_dict()
    config = load_config(wanted, [*sizes, *_learned(own)])
    if isinstance(old, Backbone):
        new = build_backbone(config)
        transfer(new, old, interpolate=True)
        return new.eval(), config
    model = build_model(config, fresh=False)
    transfer(model.backbone, old.backbone, interpolate=True)
    take_the_rest(model, old)
    return model.eval(), config


def _learned(config: Config) -> list[str]:
    """Overrides that make the encoder's positions learned ones, and leave the decoders theirs."""
    overrides: list[str] = []
    for entry, section in config.to_dict()["model"]["modalities"].items():
        if section["positions"]["name"] != "learned":
            before = json.dumps(section.get("decoder_positions", section["positions"]))
            overrides += [f"model.modalities.{entry}.positions={{name: learned}}"]
            overrides += [f"model.modalities.{entry}.decoder_positions={before}"]
    return overrides
