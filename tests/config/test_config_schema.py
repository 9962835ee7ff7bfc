import enum
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mae_core.config import json_schema, list_recipes, load_config
from mae_core.config.recipes import recipe_path, recipes_folder
from mae_core.config.yaml_tree import parse_yaml, plain
from mae_registry import Component, Registry


@pytest.fixture
def errors(registry: Registry) -> Callable[[str], list[str]]:
    """What the schema of the small registry finds in a YAML text."""
    validator = Draft202012Validator(json_schema(registry=registry))

    def errors(text: str) -> list[str]:
        return [error.message for error in validator.iter_errors(plain(parse_yaml(text, "x.yaml")))]

    return errors


@pytest.fixture(scope="module")
def shipped() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_valid_as_written_and_as_resolved(shipped: Draft202012Validator, name: str) -> None:
    shipped.validate(plain(parse_yaml(recipe_path(name).read_text(), name)))
    shipped.validate(load_config(name).to_dict())


@pytest.mark.parametrize(
    "key", ["modle", "model.encodr", "model.encoder.widht", "model.modalities.image.masker.rato", "train.epoch"]
)
def test_a_typo_in_a_recipe_is_found(shipped: Draft202012Validator, key: str) -> None:
    recipe: dict[str, Any] = yaml.safe_load((recipes_folder() / "image/mae_vit_base.yaml").read_text())
    *parents, last = key.split(".")
    section = recipe
    for parent in parents:
        section = section[parent]
    section[last] = 1
    assert not shipped.is_valid(recipe)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "extends: image/base",
        "extends: [a, b.yaml]",
        "model: {encoder: vit}",
        "model: {encoder: {width: 3}}",
        "model: {modalities: {image: {}}}",
        "model: {modalities: {image: {masker: {name: block, exact: false}}}}",
        "model: {modalities: {image: {masker: {exact: false, over: [h]}}}}",
        "model: {modalities: {image: {masker: null}}}",
        "model: {modalities: {mine: {type: image, masker: random}}}",
        "model: {encoder: {name: vit, width: null}}",
        "data: {image: {name: folder, root: null}}",
        "schedule: {name: cosine, warmup: auto}",
        "train: {device_batch_size: 3}",
    ],
)
def test_allowed(errors: Callable[[str], list[str]], text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "modle: {}",
        "extends: 3",
        "model: {encoder: vti}",
        "model: {encoder: {name: vti}}",
        "model: {encoder: {widht: 3}}",
        "model: {encoder: {name: vit, width: 0}}",
        "model: {encoder: {name: vit, width: true}}",
        "model: {modalities: {video: {type: film}}}",
        "model: {modalities: {mine: {maskr: random}}}",
        "model: {modalities: {image: {masker: {name: block, over: [h]}}}}",
        "model: {modalities: {image: {masker: {ratio: 1}}}}",
        "model: {modalities: {image: {target: {normalize: pach}}}}",
        "optimizer: {name: adamw, betas: [0.9]}",
        "train: {name: adamw}",
        "train: fast",
    ],
)
def test_not_allowed(registry: Registry, errors: Callable[[str], list[str]], text: str) -> None:
    assert errors(text)


@pytest.fixture
def registry(registry: Registry) -> Registry:
    """Without the components that no schema can describe."""
    usable = Registry()
    for component in registry:
        if not component.name.startswith("un"):
            usable.add(component)
    return usable


def test_defaults_are_shown(registry: Registry) -> None:
    masker = json_schema(registry=registry)["$defs"]["masker"]
    block = masker["anyOf"][1]["allOf"][0]["then"]["properties"]
    assert block["exact"] == {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": True}


MASKERS = {
    "a name of one's own": ("tube90", True),
    "one with a changed key": ("{name: tube90, ratio: 0.8}", True),
    "any": ("{any: [{name: random, ratio: 0.5}, tube90], ratio: 0.7}", True),
    "nested": ("{invert: {all: [{any: [a, b]}, {name: block}]}}", True),
    "one_of": ("{one_of: [a, {masker: b, weight: 3}], per: sample}", True),
    "schedule": ("{schedule: {name: random}, ratio: {from: 0.6, to: 0.85, shape: cosine}}", True),
    "a key that no masker has": ("{name: tube90, rato: 0.8}", False),
    "a key of another operator": ("{any: [a, b], per: sample}", False),
    "a bad parameter inside": ("{invert: {any: [{name: random, ratio: a lot}, b]}}", False),
    "an operator without a list": ("{any: a}", False),
    "a weight of nothing": ("{one_of: [{masker: a, weight: 0}]}", False),
    "a shape that is none": ("{schedule: a, ratio: {from: 0.6, to: 0.85, shape: round}}", False),
}


@pytest.mark.parametrize(("masker", "allowed"), MASKERS.values(), ids=MASKERS.keys())
def test_the_language_of_maskers(errors: Callable[[str], list[str]], masker: str, allowed: bool) -> None:
    assert (errors(f"maskers: {{mine: {masker}}}") == []) is allowed
    assert (errors(f"model: {{modalities: {{image: {{masker: {masker}}}}}}}") == []) is allowed


class Shade(enum.Enum):
    DARK = "dark"


class Shaded:
    def __init__(self, *, shade: Shade = Shade.DARK) -> None: ...


def test_definitions_are_where_references_look_for_them(registry: Registry) -> None:
    registry.add(Component("encoders", "shaded", f"{__name__}:Shaded", "fake"))
    validator = Draft202012Validator(json_schema(registry=registry))
    assert validator.is_valid({"model": {"encoder": {"name": "shaded", "shade": "dark"}}})
    assert not validator.is_valid({"model": {"encoder": {"name": "shaded", "shade": "light"}}})
