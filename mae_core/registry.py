"""The process's registry: the core's own components and every installed plugin's, found once."""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mae_registry import SLOW, InstalledPlugin, Registry, load_registry

CORE = "mae_core.plugin"
"""The module of the core's own hooks."""

_files: list[Path] = []


def use_plugin_file(path: Path) -> None:
    """Load a Python file as a plugin too (`--plugin PATH.py`), before the registry is first asked for."""
    assert registry.cache_info().currsize == 0
    _files.append(path)


def plugin_files() -> Sequence[Path]:
    """The files that were named by `--plugin`."""
    return _files


@functools.cache
def registry() -> Registry:
    """Components and plugins of this process. Imports no torch."""
    return load_registry(core=CORE, files=_files, on_slow=_say_slow)


def build_component(kind: str, section: Mapping[str, Any], *wired: object) -> Any:
    """The component that `section` names, given `wired` by position and the section's other keys by keyword."""
    parameters = {key: value for key, value in section.items() if key != "name"}
    return registry().get(kind, section["name"]).load()(*wired, **parameters)


def _say_slow(plugin: InstalledPlugin) -> None:
    print(
        f"plugin {plugin.name!r} ({plugin.distribution} {plugin.version}) is still being imported after {SLOW:g} s; "
        f"to remove it: mae uninstall {plugin.name}; to leave it out, name others in MAE_PLUGINS",
        file=sys.stderr,
        flush=True,
    )
