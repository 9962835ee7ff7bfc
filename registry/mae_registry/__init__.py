"""Hook specifications, plugin discovery and the component registry: standard library and pluggy, never torch."""

from mae_registry.components import Component, PluginRecord, Registry, cause_of, resolve
from mae_registry.discovery import ENTRY_POINT_GROUP, SLOW, InstalledPlugin, installed_plugins, load_registry
from mae_registry.errors import ConfigError, MaeError, PluginError, did_you_mean, some_of
from mae_registry.hookspecs import API_VERSION, KINDS, hookimpl

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "KINDS",
    "SLOW",
    "Component",
    "ConfigError",
    "InstalledPlugin",
    "MaeError",
    "PluginError",
    "PluginRecord",
    "Registry",
    "cause_of",
    "did_you_mean",
    "hookimpl",
    "installed_plugins",
    "load_registry",
    "resolve",
    "some_of",
]
