"""The process's registry: the core's own components and every installed plugin's, found once."""

import functools

from mae_registry import Registry, load_registry


@functools.cache
def registry() -> Registry:
    """Components and plugins of this process. Imports no torch."""
    return load_registry(core="mae_core.plugin")
