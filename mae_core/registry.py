"""The process's registry: the core's own components and every installed plugin's, found once."""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from mae_registry import SLOW, Component, InstalledPlugin, Registry, load_registry

CORE = "mae_core.plugin"
"""The module of the core's own hooks."""

# optimizers and schedules are looked up like other components, but there is no hook for them: no plugin has needed one
_WITHOUT_HOOK = (
    Component("optimizers", "adamw", "mae_core.parts.optimizers:adamw", "core"),
    Component("schedules", "cosine", "mae_core.parts.schedules:Cosine", "core"),
    Component("heads", "linear", "mae_core.parts.heads:LinearHead", "core"),
    Component("tasks", "pretrain", "mae_core.tasks.pretraining:Pretraining", "core"),
    Component("tasks", "classify", "mae_core.tasks.classification:Classification", "core"),
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
    found = load_registry(core=CORE, files=_files, on_slow=_say_slow)
    found.add(*_WITHOUT_HOOK)
    return found


def _say_slow(plugin: InstalledPlugin) -> None:
    print(
        f"plugin {plugin.name!r} ({plugin.distribution} {plugin.version}) is still being imported after {SLOW:g} s; "
        f"to remove it: mae uninstall {plugin.name}; to leave it out, name others in MAE_PLUGINS",
        file=sys.stderr,
        flush=True,
    )
