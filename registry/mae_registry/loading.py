"""One plugin module -> its components, or a PluginError that says what is wrong with it."""

import inspect
import re
from types import ModuleType

import pluggy

from mae_registry import hookspecs
from mae_registry.components import Component
from mae_registry.errors import PluginError, did_you_mean

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_HOOKS = {f"register_{kind}": kind for kind in hookspecs.KINDS}


def components_of(name: str, module: ModuleType) -> list[Component]:
    """Run the module's hooks. One plugin manager a plugin: an error in a hook cannot reach another plugin's."""
    api = getattr(module, "MAE_API", None)
    if api != hookspecs.API_VERSION:
        stated = "states no MAE_API" if api is None else f"is written for MAE_API = {api}"
        raise PluginError(
            f"plugin {name!r} {stated}; this mae-core has MAE_API = {hookspecs.API_VERSION}",
            fix=f"install a version of it for MAE_API = {hookspecs.API_VERSION}, or remove it with: mae uninstall {name}",
        )
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _check_hooks(name, module, manager)
    manager.register(module, name)
    components: list[Component] = []
    for hook, kind in _HOOKS.items():

        def register(component: str, target: str, kind: str = kind) -> None:
            if not isinstance(component, str) or not isinstance(target, str) or not _TARGET.fullmatch(target):
                raise PluginError(
                    f"plugin {name!r} registers {kind} {component!r} as {target!r}; "
                    'it must register a name and an import string, "package.module:Object"'
                )
            components.append(Component(kind, component, target, name))

        getattr(manager.hook, hook)(register=register)
    return components


def _check_hooks(name: str, module: ModuleType, manager: pluggy.PluginManager) -> None:
    """What pluggy would call, with messages for people; and what it would pass over in silence."""
    marked = {}
    for attribute in dir(module):
        if (options := manager.parse_hookimpl_opts(module, attribute)) is not None:
            marked[options.get("specname") or attribute] = getattr(module, attribute)
    for hook, function in marked.items():
        if hook not in _HOOKS:
            raise PluginError(f"plugin {name!r} implements the unknown hook {hook!r}.{did_you_mean(hook, _HOOKS)}")
        signature = inspect.signature(function)
        if list(signature.parameters) != ["register"]:
            raise PluginError(f"plugin {name!r} has a hook {hook}{signature}; it must take one argument: {hook}(register)")
    for hook in _HOOKS:
        if hook not in marked and hasattr(module, hook):
            raise PluginError(f"plugin {name!r} has a function {hook} that is not decorated with @hookimpl")
