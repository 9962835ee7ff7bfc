"""Hook specifications, plugin discovery and the component registry: standard library and pluggy, never torch."""

from mae_registry.components import Component, PluginRecord, Registry, resolve
from mae_registry.discovery import ENTRY_POINT_GROUP, load_registry
from mae_registry.errors import ConfigError, MaeError, PluginError, did_you_mean, some_of
from mae_registry.hookspecs import API_VERSION, KINDS, hookimpl

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "KINDS",
    "Component",
    "ConfigError",
    "MaeError",
    "PluginError",
    "PluginRecord",
    "Registry",
    "did_you_mean",
    "hookimpl",
    "load_registry",
    "resolve",
    "some_of",
]
