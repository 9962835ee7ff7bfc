"""Find plugins by their entry points and load each on its own, so that a broken one harms nothing else."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pluggy

from mae_registry import hookspecs
from mae_registry.components import Component, PluginRecord, Registry
from mae_registry.errors import PluginError, did_you_mean

ENTRY_POINT_GROUP = "mae.plugins"


def load_registry(*, core: str, files: Sequence[Path] = ()) -> Registry:
    """Load the `core` plugin module, every installed plugin that MAE_PLUGINS allows (unset: all; empty: none), and `files`.

    A plugin that fails is recorded as broken in `registry.plugins`, with its cause and how to fix it. A file that fails raises
    PluginError: somebody asked for it by name.
    """
    registry = Registry()
    for name, distribution, version, load in _sources(core):
        try:
            components = _components_of(name, load())
            _add_all(registry, components)
        except Exception as error:  # a plugin may raise anything; it is quarantined and reported
            registry.plugins.append(
                PluginRecord(
                    name,
                    distribution,
                    version,
                    "broken",
                    cause=_one_line(error),
                    fix=f"reinstall it, or remove it with: pip uninstall {distribution}",
                )
            )
        else:
            registry.plugins.append(PluginRecord(name, distribution, version, "loaded", tuple(components)))
    for path in files:
        registry.plugins.append(_load_file(registry, path))
    return registry


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
        components = _components_of(name, module)
        _add_all(registry, components)
    except Exception as error:
        raise PluginError(f"--plugin {path}: {_one_line(error)}") from error
    return PluginRecord(name, str(path), "local file", "loaded", tuple(components))


def _sources(core: str) -> Iterable[tuple[str, str, str, Callable[[], ModuleType]]]:
    yield "core", "mae-core", _version("mae-core"), lambda: importlib.import_module(core)
    wanted = os.environ.get("MAE_PLUGINS")
    allowed = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
    found = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    if allowed is not None and (unknown := allowed - {point.name for point in found}):
        name = min(unknown)
        raise PluginError(f"MAE_PLUGINS names {name!r}, which is not installed.{did_you_mean(name, [p.name for p in found])}")
    for point in found:
        if allowed is None or point.name in allowed:
            distribution = point.dist.name if point.dist else point.module
            yield point.name, distribution, point.dist.version if point.dist else "unknown", point.load


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _components_of(name: str, module: ModuleType) -> list[Component]:
    """Run the module's hooks. One plugin manager a plugin: an error in a hook cannot reach another plugin's."""
    api = getattr(module, "MAE_API", None)
    if api != hookspecs.API_VERSION:
        stated = "states no MAE_API" if api is None else f"is written for MAE_API = {api}"
        raise PluginError(f"plugin {name!r} {stated}; this mae-core has MAE_API = {hookspecs.API_VERSION}")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    known = [f"register_{kind}" for kind in hookspecs.KINDS]
    for caller in manager.get_hookcallers(module) or []:
        if caller.name not in known:
            raise PluginError(f"plugin {name!r} implements the unknown hook {caller.name!r}.{did_you_mean(caller.name, known)}")
    components: list[Component] = []
    for kind in hookspecs.KINDS:

        def register(component: str, target: str, kind: str = kind) -> None:
            components.append(Component(kind, component, target, name))

        getattr(manager.hook, f"register_{kind}")(register=register)
    return components


def _add_all(registry: Registry, components: list[Component]) -> None:
    """All or nothing: a plugin with one clash registers nothing."""
    trial = Registry()
    for component in [*registry, *components]:
        trial.add(component)
    for component in components:
        registry.add(component)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
