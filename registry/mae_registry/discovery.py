"""Find plugins by their entry points and load each on its own, so that a broken one harms nothing else."""

import importlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

from mae_registry.components import PluginRecord, Registry, cause_of, fix_of
from mae_registry.errors import PluginError, did_you_mean
from mae_registry.loading import components_of

ENTRY_POINT_GROUP = "mae.plugins"
SLOW = 2.0
"""Seconds: a plugin that takes longer to import is told of."""


@dataclass(frozen=True)
class InstalledPlugin:
    """A plugin as its distribution's metadata has it. Nothing of it is imported before `load`."""

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], ModuleType]


def installed_plugins() -> list[InstalledPlugin]:
    """Every installed plugin, broken or not, also those that MAE_PLUGINS leaves out. Imports none."""
    found = []
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        module = point.value.partition(":")[0]  # not point.module, which raises if the value is malformed
        name, version = (point.dist.name, point.dist.version) if point.dist else (None, None)  # None also in damaged metadata
        found.append(InstalledPlugin(point.name, name or module, version or "unknown", module, point.load))
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def load_registry(
    *,
    core: str,
    files: Sequence[Path] = (),
    slow_after: float = SLOW,
    on_slow: Callable[[InstalledPlugin], None] = lambda plugin: None,
) -> Registry:
    """Load the `core` plugin module, every installed plugin that MAE_PLUGINS allows (unset: all; empty: none), and `files`.

    A plugin that fails is recorded as broken in `registry.plugins`, with its cause and how to fix it. A file that fails raises
    PluginError: somebody asked for it by name. `on_slow` is called, from another thread, while a plugin is still being imported
    after `slow_after` seconds.
    """
    registry = Registry()
    core_plugin = InstalledPlugin("core", "mae-core", _version("mae-core"), core, lambda: importlib.import_module(core))
    found = installed_plugins()
    allowed = _allowed([plugin.name for plugin in found])
    for plugin in [core_plugin, *found]:
        if plugin is not core_plugin and plugin.name not in allowed:
            record = PluginRecord(plugin.name, plugin.distribution, plugin.version, "excluded")
        else:
            watch = threading.Timer(slow_after, on_slow, [plugin])
            watch.daemon = True
            watch.start()
            try:
                record = _load(registry, plugin)
            finally:
                watch.cancel()
                watch.join()  # it may be printing, which must not outlast the interpreter
        registry.plugins.append(record)
    for path in files:
        registry.plugins.append(_load_file(registry, path))
    return registry


def _allowed(installed: Sequence[str]) -> set[str]:
    """The plugins that MAE_PLUGINS allows."""
    wanted = os.environ.get("MAE_PLUGINS")
    if wanted is None:
        return set(installed)
    allowed = {name.strip() for name in wanted.split(",") if name.strip()}
    if unknown := allowed - set(installed):
        name = min(unknown)
        raise PluginError(f"MAE_PLUGINS names {name!r}, which is not installed.{did_you_mean(name, installed)}")
    return allowed


def _load(registry: Registry, plugin: InstalledPlugin) -> PluginRecord:
    """Load, and add the components to the registry. A plugin with one clash adds nothing."""
    start = time.perf_counter()
    recipes = None
    try:
        _refuse_a_second(registry, plugin)
        module = plugin.load()
        components = components_of(plugin.name, module)
        registry.add(*components)
    except KeyboardInterrupt:
        raise
    # a plugin may raise anything, also SystemExit or the panic of an extension module; it is quarantined and reported
    except BaseException as error:
        seconds = time.perf_counter() - start
        status, components, cause, fix = (
            "broken",
            [],
            cause_of(error),
            fix_of(error, plugin.name, package=plugin.module.partition(".")[0]),
        )
    else:
        seconds = time.perf_counter() - start
        status, cause, fix, recipes = "loaded", "", "", _recipes(module)
    seconds = round(seconds, 3)
    return PluginRecord(
        plugin.name, plugin.distribution, plugin.version, status, tuple(components), cause, fix, seconds, recipes
    )


def _recipes(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    if not module.__package__ or file is None:  # a module alone lies among others' files
        return None
    folder = Path(file).parent / "recipes"
    return folder if folder.is_dir() else None


def _refuse_a_second(registry: Registry, plugin: InstalledPlugin) -> None:
    for other in registry.plugins:
        if other.name == plugin.name:
            raise PluginError(
                f"the plugin name {plugin.name!r} is claimed by {other.distribution} {other.version} "
                f"and by {plugin.distribution} {plugin.version}",
                fix=f"remove one of them with: mae uninstall {plugin.distribution}",
            )


def _load_file(registry: Registry, path: Path) -> PluginRecord:
    """One Python file as a plugin of its stem's name; its components are "stem:Object"."""
    name = path.stem
    try:
        if name in sys.modules:
            raise PluginError(f"there is a module {name!r} already; give the file another name")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PluginError("it is not a Python file (.py)")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        components = components_of(name, module)
        registry.add(*components)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"--plugin {path}: {cause_of(error)}") from error
    return PluginRecord(name, str(path), "local file", "loaded", tuple(components))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
