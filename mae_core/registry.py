"""The process's registry: the core's own components and every installed plugin's, found once."""

import functools
from collections.abc import Sequence
from pathlib import Path

from mae_registry import Component, Registry, load_registry

# optimizers and schedules are looked up like other components, but there is no hook for them: no plugin has needed one
_WITHOUT_HOOK = (
    Component("optimizers", "adamw", "mae_core.train.optim:adamw", "core"),
    Component("schedules", "cosine", "mae_core.train.optim:Cosine", "core"),
)


_files: list[Path] = []


def use_plugin_file(path: Path) -> None:
    """Load a Python file as a plugin too (`--plugin PATH.py`), before the registry is first asked for."""
    assert registry.cache_info().currsize == 0
    _files.append(path)


def plugin_files() -> Sequence[Path]:
    """Those that were named by `--plugin`."""
    return _files


@functools.cache
def registry() -> Registry:
    """Components and plugins of this process. Imports no torch."""
    found = load_registry(core="mae_core.plugin", files=_files)
    for component in _WITHOUT_HOOK:
        found.add(component)
    return found
