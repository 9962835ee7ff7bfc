"""Recipes of a paper: which there are, and how one differs from another."""

import re
from collections.abc import Mapping
from typing import Any

from mae_core import load_config
from mae_core.config import list_recipes
from mae_core.config.recipes import recipe_path


def recipes_from(*roots: str, folder: str) -> list[str]:
    """The recipes of a folder that extend one of the roots, a shipped recipe by the beginning of its name. Loads none."""
    return [name for name in list_recipes() if name.startswith(folder) and _root(name, folder).startswith(roots)]


def _root(name: str, folder: str) -> str:
    """The first recipe outside of the folder that this one extends, directly or not."""
    while name.startswith(folder):
        found = re.search(r"^extends: (\S+)$", recipe_path(name).read_text(), re.M)
        assert found, name
        name = found[1]
    return name


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
