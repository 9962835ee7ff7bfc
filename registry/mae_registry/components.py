"""Components by kind and name. The registry holds import strings; nothing is imported before it is used."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        except Exception as error:  # whatever a plugin's module raises when it is imported is the plugin's fault
            raise PluginError(
                f"{self.kind} {self.name!r} of plugin {self.plugin!r} cannot be loaded from {self.target!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


class Registry:
    """Components by (kind, name), and the state of every plugin that was found."""

    def __init__(self) -> None:
        self._components: dict[tuple[str, str], Component] = {}
        self.plugins: list[PluginRecord] = []

    def add(self, component: Component) -> None:
        """Register. Raises PluginError, naming both sides, if the name is taken."""
        key = (component.kind, component.name)
        other = self._components.get(key)
        if other is not None:
            raise PluginError(
                f"{component.kind} {component.name!r} is registered by plugin {other.plugin!r} ({other.target}) "
                f"and by plugin {component.plugin!r} ({component.target}); uninstall one of them or set MAE_PLUGINS"
            )
        self._components[key] = component

    def get(self, kind: str, name: str) -> Component:
        """The component. Raises ConfigError with the nearest known name, and the broken plugins that may hold it."""
        try:
            return self._components[kind, name]
        except KeyError:
            message = f"unknown {kind} name {name!r}.{did_you_mean(name, self.names(kind))}"
            for plugin in self.plugins:
                if plugin.status == "broken":
                    message += f" Plugin {plugin.name!r} is broken and was not loaded: {plugin.cause}."
            raise ConfigError(message) from None

    def names(self, kind: str) -> list[str]:
        """Registered names of one kind, sorted."""
        return sorted(name for k, name in self._components if k == kind)

    def __iter__(self) -> Iterator[Component]:
        return iter(self._components.values())


@dataclass(frozen=True)
class PluginRecord:
    """What became of one plugin. `status` is "loaded" or "broken"; a broken one has a `cause` and a `fix`."""

    name: str
    distribution: str
    version: str
    status: str
    components: tuple[Component, ...] = ()
    cause: str = ""
    fix: str = ""
