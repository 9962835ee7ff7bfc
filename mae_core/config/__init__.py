"""Configuration: recipes in YAML, merged, checked against the components' signatures, and resolved. Imports no torch."""

from mae_core.config.config import Config, load_config, load_masker
from mae_core.config.recipes import extended_by, list_recipes
from mae_core.config.schema import json_schema

__all__ = ["Config", "extended_by", "json_schema", "list_recipes", "load_config", "load_masker"]
