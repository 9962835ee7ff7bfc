"""How one recipe differs from another."""

from collections.abc import Mapping
from typing import Any

from mae_core import load_config


def values(recipe: str) -> dict[str, Any]:
    """Every value of a recipe by its key: {"a": {"b": 1}} -> {"a.b": 1}"""
    return _flat(load_config(recipe).to_dict(), "")


def changes(recipe: str, *, of: str) -> dict[str, Any]:
    """What `recipe` adds to the other recipe, and what it changes."""
    before = values(of)
    return {key: value for key, value in values(recipe).items() if key not in before or before[key] != value}


def _flat(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = f"{path}.{key}" if path else key
        plain = list(value) if isinstance(value, tuple) else value
        found |= _flat(plain, inner) if isinstance(plain, Mapping) else {inner: plain}
    return found
