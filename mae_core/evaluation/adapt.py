"""A recipe for what is done after pre-training, made to fit a checkpoint and somebody's data."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mae_core.build import build_backbone, modality_of
from mae_core.config import Config, extended_by, load_config
from mae_core.config.signature import parameters
from mae_core.config.structure import TASK
from mae_core.evaluation.data import FoundData
from mae_core.interfaces import Modality
from mae_core.registry import registry
from mae_registry import MaeError

WHERE = ("root", "labels", "split")
"""Options of datasets that say which samples they have."""


def choose_recipe(modality: Modality, purpose: str, checkpoint: Config) -> str:
    """The modality's recipe for this purpose whose encoder is nearest in size to the checkpoint's. Raises MaeError."""
    names = modality.recipes.get(purpose, ())
    if not names:
        raise MaeError(f"the modality {modality.name!r} comes with no recipe to {purpose} a model; name one with --recipe")
    if len(names) == 1:
        return names[0]
    size = _encoder_size(checkpoint)
    return min(names, key=lambda name: abs(math.log(_encoder_size(load_config(name)) / size)))


def _encoder_size(config: Config) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_backbone(config).encoder.parameters())


def only_entry(checkpoint: Config, chosen: str | None) -> str:
    """The entry under `model.modalities` that is evaluated: the `chosen` one, or the only one."""
    entries = list(checkpoint["model"]["modalities"])
    if chosen is None and len(entries) > 1:
        raise MaeError(f"this model has the modalities {', '.join(entries)}; choose one with --modality")
    if chosen is not None and chosen not in entries:
        raise MaeError(f"this model has no modality {chosen!r}, but {', '.join(entries)}")
    return chosen or entries[0]


def adapt(
    recipe: str | Path, overrides: Sequence[str], *, checkpoint: Config, weights: str | Path, entry: str, data: FoundData
) -> Config:
    """The recipe with the checkpoint's model, changed as the recipe changes the one of pre-training, and with this data.

    Args:
        recipe: for the task that comes after pre-training.
        overrides: "key.path=value", which count more than anything else.
        checkpoint: the recipe of the model that was pre-trained.
        weights: where that model is.
        entry: the checkpoint's entry under `model.modalities` that is used.
        data: what is trained on, and held out.
    """
    given = load_config(recipe)
    tree = given.to_dict()
    theirs = _entry_like(given, modality_of(checkpoint, entry), recipe)
    tree["model"] = _model(recipe, given, checkpoint, theirs=theirs, entry=entry)
    tree["data"] = {entry: {**loading_options(tree.get("data", {}).get(theirs, {}), data.train["name"]), **data.train}}
    tree["task"]["validation"] = {
        **loading_options(tree["task"].get("validation") or {}, data.train["name"]),
        **data.validation,
    }
    tree["init"] = {**tree.get("init", {}), "checkpoint": os.path.abspath(weights)}
    _without_class_token(tree, checkpoint)
    return load_config(tree, overrides).renamed(given.name, based_on=given.based_on)


def _entry_like(recipe: Config, modality: str, name: str | Path) -> str:
    """The recipe's entry of this modality."""
    entries = recipe["model"]["modalities"]
    fitting = [entry for entry in entries if modality_of(recipe, entry) == modality]
    if not fitting:
        raise MaeError(f"the recipe {name} is for {', '.join(entries)}, but the checkpoint is for {modality}")
    return fitting[0]


def _model(recipe: str | Path, given: Config, checkpoint: Config, *, theirs: str, entry: str) -> dict[str, Any]:
    """The checkpoint's model with one entry, and what the recipe changes in the model of the pre-training that it extends."""
    before = _pretraining(recipe)
    wanted = given.to_dict()["model"]
    if before is None:  # the recipe says itself what the model is
        kind = {} if entry == theirs else {"type": modality_of(given, theirs)}
        return {**wanted, "modalities": {entry: {**kind, **wanted["modalities"][theirs]}}}
    first = before.to_dict()["model"]
    own = checkpoint.to_dict()["model"]
    changed = _changes(first["modalities"].get(theirs, {}), wanted["modalities"][theirs])
    encoder = own["encoder"]
    if encoder["name"] == wanted["encoder"]["name"]:
        encoder = _merged(encoder, _changes(first["encoder"], wanted["encoder"]))
    return {"encoder": encoder, "modalities": {entry: _merged(own["modalities"][entry], changed)}}


def _pretraining(recipe: str | Path) -> Config | None:
    """The first recipe of pre-training that this one extends, at whatever distance."""
    for parent in extended_by(recipe):
        config = load_config(parent)
        found = config if config.get("task.name", TASK) == TASK else _pretraining(parent)
        if found is not None:
            return found
    return None


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The items of `after` that `before` has not, at any depth; a component of another name whole."""
    if before.get("name") != after.get("name"):
        return dict(after)
    found: dict[str, Any] = {}
    for key, value in after.items():
        other = before.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if inner := _changes(other, value):
                found[key] = inner
        elif key not in before or value != other:
            found[key] = value
    return found


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`; a component of another name replaces."""
    if "name" in upper and upper["name"] != lower.get("name"):
        return dict(upper)
    both = {key: _merged(lower[key], value) for key, value in upper.items() if _are_mappings(lower.get(key), value)}
    return {**lower, **upper, **both}


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)


def loading_options(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A recipe's options of loading, as far as the dataset of this name has them, without those that say where samples are."""
    known = parameters(registry().get("datasets", name).load(), name)
    return {key: value for key, value in section.items() if key in known and key not in WHERE}


def _without_class_token(tree: dict[str, Any], checkpoint: Config) -> None:
    """An encoder that has no class token is read by the mean of its tokens instead."""
    head = tree["task"].get("head", {})
    if head.get("pool") != "cls":
        return
    with torch.device("meta"):
        if build_backbone(checkpoint).encoder.num_prefix_tokens == 0:
            head["pool"] = "mean"
