"""A component's keyword-only parameters: what a recipe may say, checked strictly and described in words."""

import inspect
import json
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from mae_core.section import Section
from mae_registry import PluginError, did_you_mean


@dataclass(frozen=True)
class Parameter:
    """One keyword-only parameter. `default` is plain data, and means nothing where the parameter is `required`."""

    adapter: TypeAdapter[Any]
    schema: Mapping[str, Any]
    required: bool
    default: Any
    kind: str | None = None
    """The kind of component, if the parameter is a section."""

    def validate(self, value: Any) -> Any:
        """Plain data -> the value for the component, e.g. a tuple for a list. Raises ValueError that says what is allowed."""
        try:
            valid = self.adapter.validate_json(json.dumps(value), strict=True)
            if _is_finite(value):
                return valid
            own = ["numbers must be finite"]
        except ValidationError as error:
            # an annotation may bring its own validator, whose demands no schema knows
            own = [
                details["msg"].removeprefix("Value error, ") for details in error.errors() if details["type"] == "value_error"
            ]
        found = f"{json.dumps(value, ensure_ascii=False)} is not allowed"
        options = self.schema.get("enum")
        if isinstance(value, str) and options and all(isinstance(option, str) for option in options):
            raise ValueError(f"{found}.{did_you_mean(value, options)}")
        raise ValueError(f"{found}: {'; '.join(own) or f'must be {self.allowed}'}")

    @property
    def allowed(self) -> str:
        """E.g. "a number greater than 0 and less than 1"."""
        return describe(self.schema)

    @property
    def takes_null(self) -> bool:
        """Whether null is a value of this parameter, rather than the wish to remove one."""
        try:
            self.validate(None)
        except ValueError:
            return False
        return True


def _is_finite(value: Any) -> bool:
    """Of all numbers in it."""
    if isinstance(value, dict | list):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def parameters(component: Callable[..., Any], owner: str) -> dict[str, Parameter]:
    """Keyword-only parameters of a class or function. Raises PluginError, naming `owner`, if one cannot come from a recipe."""
    try:
        hints = typing.get_type_hints(component.__init__ if isinstance(component, type) else component, include_extras=True)
    except NameError as error:  # e.g. imported for type checking only
        raise PluginError(f"{owner}: its annotations cannot be read: {error}") from error
    found = {}
    for name, parameter in inspect.signature(component).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if name not in hints:
            raise PluginError(f"{owner}: the parameter {name!r} has no annotation, so recipes cannot be checked against it")
        required = parameter.default is inspect.Parameter.empty
        try:
            adapter = TypeAdapter(hints[name])
            default = None if required else to_jsonable_python(parameter.default)
        except (PydanticSchemaGenerationError, PydanticSerializationError) as error:
            raise PluginError(f"{owner}: the parameter {name!r} cannot come from a recipe: {error}") from error
        marks = [mark for mark in getattr(hints[name], "__metadata__", ()) if isinstance(mark, Section)]
        kind = marks[0].kind if marks else None
        found[name] = Parameter(adapter, adapter.json_schema(), required, default, kind)
    return found


_BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
    "multipleOf": "that is a multiple of",
}
_SINGULAR = {"number": "a number", "integer": "a whole number", "string": "text", "boolean": "true or false", "null": "null"}
_PLURAL = {"number": "numbers", "integer": "whole numbers", "string": "texts"}


def describe(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None) -> str:
    """A JSON schema in words."""
    definitions = schema.get("$defs", definitions)
    if "$ref" in schema and definitions:
        return describe(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(describe(option, definitions) for option in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return _describe_list(schema, definitions)
    if kind == "object":
        keys = [f"{key} ({describe(value, definitions)})" for key, value in schema.get("properties", {}).items()]
        return f"a mapping{' of ' if keys else ''}{', '.join(keys)}"
    bounds = [f"{words} {schema[key]:g}" for key, words in _BOUNDS.items() if key in schema]
    return f"{_SINGULAR.get(str(kind), 'a value of another kind')} {' and '.join(bounds)}".rstrip()


def _describe_list(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None) -> str:
    items = schema.get("prefixItems") or [schema.get("items", {})]
    count = f"{len(items)} " if "prefixItems" in schema else ""
    if any(item != items[0] for item in items):
        return f"a list of {count}items: {', '.join(describe(item, definitions) for item in items)}"
    if items[0].keys() == {"type"} and items[0]["type"] in _PLURAL:
        return f"a list of {count}{_PLURAL[items[0]['type']]}"
    return f"a list of {count}items" + (f", each {describe(items[0], definitions)}" if items[0] else "")
