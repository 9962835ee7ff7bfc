"""Components by kind and name. The registry holds import strings; nothing is imported before it is used."""

import importlib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mae_registry.errors import ConfigError, PluginError, did_you_mean


def resolve(target: str) -> Any:
    """The object that an import string "package.module:name" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Component:
    """One registered name: `kind` ("maskers"), `name` ("random"), `target` ("package.module:Object"), and the plugin's name."""

    kind: str
    name: str
    target: str
    plugin: str

    def load(self) -> Any:
        """Import the object. Raises PluginError that names the plugin if it cannot be imported."""
        try:
            return resolve(self.target)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plugin's module raises when it is imported is the plugin's fault
            raise PluginError(
                f"{self.kind} {self.name!r} of plugin {self.plugin!r} cannot be loaded from {self.target!r}: {cause_of(error)}",
                fix=fix_of(error, self.plugin, package=self.target.partition(".")[0].partition(":")[0]),
            ) from error


@dataclass(frozen=True)
class PluginRecord:
    """What became of one plugin.

    `status` is "loaded", "broken" (it has a `cause` and a `fix`) or "excluded" (by MAE_PLUGINS; it was not imported).
    `seconds` is how long its import took. `recipes`: the folder of that name beside the plugin's module, if there is one.
    """

    name: str
    distribution: str
    version: str
    status: Literal["loaded", "broken", "excluded"]
    components: tuple[Component, ...] = ()
    cause: str = ""
    fix: str = ""
    seconds: float = field(default=0.0, compare=False)
    recipes: Path | None = None


class Registry:
    """Components by (kind, name), and the state of every plugin that was found."""

    def __init__(self) -> None:
        self._components: dict[tuple[str, str], Component] = {}
        self.plugins: list[PluginRecord] = []

    def add(self, *components: Component) -> None:
        """Register all or, if one name is taken, nothing. Raises PluginError that names both sides."""
        added = dict(self._components)
        for component in components:
            key = (component.kind, component.name)
            if key in added:
                raise _clash(added[key], component)
            added[key] = component
        self._components = added

    def get(self, kind: str, name: str) -> Component:
        """The component. Raises ConfigError with the nearest known name, and the unloaded plugins that may hold it."""
        try:
            return self._components[kind, name]
        except KeyError:
            message = f"unknown {kind} name {name!r}.{did_you_mean(name, self.names(kind))}"
            reasons = [_why_not_loaded(plugin) for plugin in self.plugins if plugin.status != "loaded"]
            raise ConfigError(" ".join([message, *(f"{reason[0].upper()}{reason[1:]}." for reason in reasons)])) from None

    def names(self, kind: str) -> list[str]:
        """Registered names of one kind, sorted."""
        return sorted(name for k, name in self._components if k == kind)

    def why_not_loaded(self, plugin: str) -> str | None:
        """Why the installed plugin of this name is not loaded, and what to do; None if it is loaded or not installed."""
        return next((_why_not_loaded(p) for p in self.plugins if p.name == plugin and p.status != "loaded"), None)

    def __iter__(self) -> Iterator[Component]:
        return iter(self._components.values())


def _why_not_loaded(plugin: PluginRecord) -> str:
    if plugin.status == "excluded":
        return f"plugin {plugin.name!r} is left out by MAE_PLUGINS"
    return f"plugin {plugin.name!r} is broken: {plugin.cause}; to fix this, {plugin.fix}"


def _clash(one: Component, other: Component) -> PluginError:
    what = f"{one.kind} {one.name!r}"
    if one.plugin == other.plugin:
        return PluginError(f"plugin {one.plugin!r} registers {what} twice, as {one.target!r} and as {other.target!r}")
    removable = [plugin for plugin in (one.plugin, other.plugin) if plugin != "core"]
    return PluginError(
        f"{what} is registered by plugin {one.plugin!r} ({one.target}) and by plugin {other.plugin!r} ({other.target})",
        fix=f"leave one out with MAE_PLUGINS, or remove it: {' or '.join(f'mae uninstall {name}' for name in removable)}",
    )


def cause_of(error: BaseException) -> str:
    """An exception of a plugin's in one line: type, message, and the plugin's own file and line that raised it."""
    if isinstance(error, PluginError):
        return error.message
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = None if isinstance(error, SyntaxError) else _place(traceback.extract_tb(error.__traceback__))
    return f"{said} ({place})" if place else said


def fix_of(error: BaseException, plugin: str, *, package: str) -> str:
    """What to do about an exception of a plugin's; `package` is its own import package."""
    if plugin == "core":
        return "reinstall mae-core"
    if isinstance(error, PluginError) and error.fix:
        return error.fix
    remove = f"remove it with: mae uninstall {plugin}"
    missing = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else package
    return f"reinstall it, or {remove}" if missing == package else f"install {missing!r}, which it needs, or {remove}"


def _place(frames: Sequence[traceback.FrameSummary]) -> str | None:
    """The last frame that is neither ours nor the import machinery's, as "package/module.py:3"."""
    machinery = (str(Path(__file__).parent), str(Path(importlib.__file__).parent), "<frozen ")
    for frame in reversed(frames):
        if not frame.filename.startswith(machinery):
            return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
    return None
