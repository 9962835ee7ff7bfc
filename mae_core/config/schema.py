"""A JSON Schema of recipes, so that editors complete and check them."""

from collections.abc import Iterable, Mapping
from typing import Any

from mae_core.config.operators import OPERATORS
from mae_core.config.signature import Parameter, parameters
from mae_core.config.structure import (
    RECIPE,
    ComponentSection,
    InstalledModality,
    Named,
    PerModality,
    SettingsSection,
    Shape,
)
from mae_core.registry import registry as process_registry
from mae_registry import Registry, resolve

Schema = dict[str, Any]
_MASKER = {"$ref": "#/$defs/masker"}


def json_schema(*, registry: Registry | None = None) -> Schema:
    """JSON Schema (2020-12) of a recipe, from the signatures of every installed component.

    It checks one file, before merging: nothing is required, and null, which removes, is allowed everywhere.
    """
    registry = registry or process_registry()
    schema = _shape(RECIPE, registry)
    text = {"type": "string"}
    extends = {
        "description": "recipes' names, or paths relative to this file; the later ones prevail",
        "anyOf": [text, {"type": "array", "items": text}, {"type": "null"}],
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    masker = _masker(registry)
    definitions = {"masker": masker, **_hoist_definitions(schema), **_hoist_definitions(masker)}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mae recipe", **schema, "$defs": definitions}


def _shape(shape: Shape, registry: Registry) -> Schema:
    if isinstance(shape, ComponentSection):
        return _MASKER if shape.kind == "maskers" else _component(shape.kind, registry)
    if isinstance(shape, Named):
        return {"type": ["object", "null"], "additionalProperties": _shape(shape.entry, registry)}
    if isinstance(shape, InstalledModality):
        return {"enum": [*registry.names("modalities"), None]}
    if isinstance(shape, SettingsSection):
        return _mapping(_arguments(parameters(resolve(shape.target), shape.target)))
    if isinstance(shape, PerModality):
        # an entry may have a name of the user's own, with the `type` of a modality
        return {"type": ["object", "null"], "additionalProperties": _shape(shape.entry, registry)}
    return _mapping({key: _shape(child, registry) for key, child in shape.items()})


def _mapping(properties: Mapping[str, Schema]) -> Schema:
    return {"type": ["object", "null"], "properties": dict(properties), "additionalProperties": False}


def _component(kind: str, registry: Registry) -> Schema:
    """A name alone, or a mapping whose `name` decides about the other keys. Without a name, a lower layer's may hold: any."""
    arguments = _arguments_by_name(kind, registry)
    names = {"enum": list(arguments)}
    unnamed = {"if": {"not": {"required": ["name"]}}, "then": _mapping(_any_of(arguments.values()))}
    section = {"type": "object", "properties": {"name": names}, "allOf": [*_by_name(arguments), unnamed]}
    return {"anyOf": [names, section, {"type": "null"}]}


def _masker(registry: Registry) -> Schema:
    """As a component; but its name may be one from `maskers:` (with some of its keys changed), or an operator stands for it."""
    arguments = _arguments_by_name("maskers", registry)
    names = {"anyOf": [{"enum": list(arguments)}, {"type": "string"}]}
    operands = {name: operator.operand.schema(_MASKER) for name, operator in OPERATORS.items()}
    operators = {
        name: {name: operands[name], **_arguments(parameters(resolve(operator.target), name))}
        for name, operator in OPERATORS.items()
    }
    by_operator = [{"if": {"required": [name]}, "then": _mapping(own)} for name, own in operators.items()]
    known: Schema = {"anyOf": [{"properties": {"name": {"const": name}}, "required": ["name"]} for name in arguments]}
    known["anyOf"] += [{"required": [name]} for name in operators]
    others = {"if": {"not": known}, "then": _mapping({"name": names, **_any_of([*arguments.values(), *operators.values()])})}
    section = {"type": "object", "properties": {"name": names, **operands}}
    return {"anyOf": [names, section | {"allOf": [*_by_name(arguments), *by_operator, others]}, {"type": "null"}]}


def _arguments_by_name(kind: str, registry: Registry) -> dict[str, dict[str, Schema]]:
    return {name: _arguments(parameters(registry.get(kind, name).load(), f"{kind} {name!r}")) for name in registry.names(kind)}


def _by_name(arguments: Mapping[str, Mapping[str, Schema]]) -> list[Schema]:
    return [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"name": {"const": name}, **own}, "additionalProperties": False},
        }
        for name, own in arguments.items()
    ]


def _any_of(choices: Iterable[Mapping[str, Schema]]) -> dict[str, Schema]:
    """Every key of several components, with whatever one of them allows."""
    merged: dict[str, Schema] = {}
    for properties in choices:
        for key, schema in properties.items():
            merged.setdefault(key, {"anyOf": []})["anyOf"].append(schema)
    return merged


def _arguments(known: Mapping[str, Parameter]) -> dict[str, Schema]:
    return {
        name: {
            "anyOf": [dict(parameter.schema), {"type": "null"}],
            **({} if parameter.required else {"default": parameter.default}),
        }
        for name, parameter in known.items()
    }


def _hoist_definitions(schema: Any) -> Schema:
    """Take the `$defs` that pydantic puts beside a value's schema to the top, where its references look for them."""
    found: Schema = {}
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for child in children:
        found |= _hoist_definitions(child)
    return found | schema.pop("$defs", {}) if isinstance(schema, dict) else found
