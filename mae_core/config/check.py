"""A merged tree against the components' own signatures: every value checked, every default filled in."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mae_core.config.maskers import MaskerChecker
from mae_core.config.signature import parameters
from mae_core.config.structure import (
    RECIPE,
    TASK,
    ComponentSection,
    InstalledModality,
    Named,
    PerModality,
    SettingsSection,
    Shape,
)
from mae_core.config.yaml_tree import Node, Origin, from_python, plain
from mae_registry import ConfigError, Registry, did_you_mean
from mae_registry import resolve as resolve_target

Place = tuple[str, ...]
"""The keys that lead to a value of a recipe."""


def modality_defaults(layers: Iterable[Node], registry: Registry) -> Node:
    """The defaults of every installed modality that any layer names, or gives as the type of an entry, at their places."""
    types: dict[str, Any] = {}
    for layer in layers:
        for entry, node in _entries(layer).items():
            own = node.items.get("type")
            types[entry] = own.value if own is not None and own.value is not None else types.get(entry, entry)
    found = {
        entry: from_python(registry.get("modalities", kind).load().defaults, Origin(f"{kind}'s default"))
        for entry, kind in types.items()
        if kind in registry.names("modalities")
    }
    origin = Origin("modalities' defaults")
    return Node({"model": Node({"modalities": Node(found, origin)}, origin)}, origin) if found else Node({}, origin)


def _entries(tree: Node) -> Mapping[str, Node]:
    """What stands under `model.modalities`."""
    model = tree.items.get("model")
    modalities = model.items.get("modalities") if model else None
    return modalities.items if modalities else {}


def resolve(tree: Node, registry: Registry) -> Node:
    """The tree with every default in it and values as the components take them. Raises one ConfigError of all problems."""
    checker = _Checker(registry, _given(tree.items.get("maskers")))
    resolved = checker.recipe(tree)
    if checker.problems:
        raise ConfigError("\n".join(checker.problems))
    return resolved


def _given(node: Node | None) -> dict[str, Node]:
    """The items that are not null."""
    return {key: child for key, child in node.items.items() if child.value is not None} if node else {}


def resolve_masker(section: Node, definitions: Node, registry: Registry) -> Node:
    """One masker's section as `resolve` would have it, with the `definitions` of a recipe's `maskers:`."""
    checker = _Checker(registry, _given(definitions))
    resolved = checker.maskers.masker(section, ())
    if checker.problems:
        raise ConfigError("\n".join(checker.problems))
    return resolved


def _with_origins(value: Any, given: Node) -> Node:
    """A validated value, a mapping's items with the places that they were given at."""
    if not isinstance(value, dict):
        return Node(value, given.origin)
    items = {key: _with_origins(item, given.items.get(key, Node(None, given.origin))) for key, item in value.items()}
    return Node(items, given.origin)


def _with_task(tree: Node) -> Node:
    """A recipe that says how to train says what for: pre-training, unless its section `task` names another task."""
    given = _given(tree)
    task = given.get("task", Node({}, tree.origin))
    if "train" not in given or not isinstance(task.value, dict) or "name" in _given(task):
        return tree
    name = Node(TASK, Origin("default of recipes"))
    return Node({**tree.items, "task": Node({**task.items, "name": name}, task.origin)}, tree.origin)


def _is_optional(shape: Shape) -> bool:
    return isinstance(shape, InstalledModality) or (isinstance(shape, ComponentSection | Named) and shape.optional)


class _Checker:
    """Walks a tree along its shape. A null that is no value counts as absent."""

    def __init__(self, registry: Registry, maskers: Mapping[str, Node]) -> None:
        self.registry = registry
        self.problems: list[str] = []
        self.absent: set[str] = set()
        """Entries of the model whose modality is not installed: to check their data would only say so again."""
        self.maskers = MaskerChecker(self, maskers)

    def problem(self, origin: Origin, path: Place, text: str) -> None:
        self.problems.append(": ".join(part for part in (str(origin), ".".join(path), text) if part))

    def recipe(self, tree: Node) -> Node:
        """Only `model` is necessary: a model can be built, and looked at, without data or training."""
        tree = _with_task(tree)
        resolved = self.mapping(tree, RECIPE, (), required=["model"])
        model, data = (tree.items.get(key, Node({}, tree.origin)) for key in ("model", "data"))
        modalities = model.items.get("modalities", Node(None, model.origin))
        named = [name for name, node in modalities.items.items() if node.value is not None]
        if isinstance(modalities.value, dict) and not named:
            known = ", ".join(self.registry.names("modalities")) or "(none)"
            self.problem(modalities.origin, ("model", "modalities"), f"needs at least one modality; known: {known}")
        for name, node in data.items.items():
            if node.value is not None and name not in named and named:
                self.problem(node.origin, ("data", name), f"the model has no modality {name!r}.{did_you_mean(name, named)}")
        return resolved

    def section(self, node: Node, shape: Shape, path: Place) -> Node:
        if isinstance(shape, ComponentSection):
            return self.maskers.masker(node, path) if shape.kind == "maskers" else self.component(node, shape.kind, path)
        if isinstance(shape, Named):
            return self.named(node, shape, path)
        if isinstance(shape, InstalledModality):
            return self.installed_modality(node, path)
        if isinstance(shape, SettingsSection):
            return self.settings(node, shape, path)
        if isinstance(shape, PerModality):
            return self.per_modality(node, shape, path)
        required = [key for key, child in shape.items() if not _is_optional(child)]
        return self.mapping(node, shape, path, required=required)

    def named(self, node: Node, shape: Named, path: Place) -> Node:
        """Entries with names of the user's own."""
        self.is_mapping(node, path, f"a mapping of names to {path[-1]}")
        if path == ("maskers",):
            return Node({name: self.maskers.definition(name) for name in _given(node)}, node.origin)
        return Node(
            {name: self.section(child, shape.entry, (*path, name)) for name, child in _given(node).items()}, node.origin
        )

    def is_mapping(self, node: Node, path: Place, allowed: str) -> bool:
        if not isinstance(node.value, dict):
            self.problem(node.origin, path, f"{plain(node)!r} is not allowed: must be {allowed}")
        return isinstance(node.value, dict)

    def mapping(self, node: Node, shape: Mapping[str, Shape], path: Place, *, required: list[str]) -> Node:
        if not self.is_mapping(node, path, f"a mapping of {', '.join(shape)}"):
            return node
        given = _given(node)
        for key, child in given.items():
            if key not in shape:
                self.problem(child.origin, (*path, key), f"unknown key.{did_you_mean(key, shape)}")
        resolved = {}
        for key, child_shape in shape.items():
            if key in given:
                resolved[key] = self.section(given[key], child_shape, (*path, key))
            elif key in required:
                self.missing(node.items.get(key, node).origin, child_shape, (*path, key))
        return Node(resolved, node.origin)

    def missing(self, origin: Origin, shape: Shape, path: Place) -> None:
        known = f"; name one of: {', '.join(self.registry.names(shape.kind))}" if isinstance(shape, ComponentSection) else ""
        self.problem(origin, path, f"is missing{known}")

    def per_modality(self, node: Node, shape: PerModality, path: Place) -> Node:
        """Entries named like an installed modality, or of one's own name with the `type` of one; data has the same names."""
        if not self.is_mapping(node, path, "a mapping of modalities"):
            return node
        known, resolved = self.registry.names("modalities"), {}
        for name, child in _given(node).items():
            is_model = isinstance(shape.entry, Mapping)
            if is_model and name not in known and "type" not in _given(child):
                self.absent.add(name)
                self.problem(child.origin, (*path, name), self.not_installed(name))
            elif name not in self.absent:
                resolved[name] = self.section(child, shape.entry, (*path, name))
        return Node(resolved, node.origin)

    def installed_modality(self, node: Node, path: Place) -> Node:
        if node.value not in self.registry.names("modalities"):
            self.problem(node.origin, path, self.not_installed(str(plain(node))))
        return node

    def not_installed(self, name: str) -> str:
        if reason := self.registry.why_not_loaded(name):
            return f"modality {name!r} is not loaded: {reason}"
        known = self.registry.names("modalities")
        broken = [plugin.name for plugin in self.registry.plugins if plugin.status == "broken"]
        more = "".join(f"; {self.registry.why_not_loaded(plugin)}" for plugin in broken)
        near = difflib.get_close_matches(name, known, n=1)
        what_to_do = f"did you mean {near[0]!r}? If not, install it" if near else "install it"
        return (
            f"modality {name!r} is not installed; known: {', '.join(known) or '(none)'}; {what_to_do} with: mae install {name}"
            f"{more}"
        )

    def component(self, node: Node, kind: str, path: Place) -> Node:
        names = ", ".join(self.registry.names(kind))
        if not self.is_mapping(node, path, f"a mapping with a `name`, or a name alone: {names}"):
            return node
        name = node.items.get("name", Node(None, node.origin))
        if not isinstance(name.value, str):
            found = "is missing" if name.value is None else f"{plain(name)!r} is not a name"
            self.problem(name.origin, (*path, "name"), f"{found}; name one of: {names}")
            return node
        try:
            component = self.registry.get(kind, name.value)
        except ConfigError as error:
            self.problem(name.origin, (*path, "name"), str(error))
            return node
        owner = f"{kind} {name.value!r} of plugin {component.plugin!r}"
        given = {key: child for key, child in node.items.items() if key != "name"}
        resolved = self.arguments(Node(given, node.origin), component.load(), path, called=name.value, owner=owner)
        return Node({"name": name, **resolved}, node.origin)

    def settings(self, node: Node, shape: SettingsSection, path: Place) -> Node:
        if not self.is_mapping(node, path, "a mapping"):
            return node
        called = path[-1]
        return Node(
            self.arguments(node, resolve_target(shape.target), path, called=called, owner=f"section {called!r}"), node.origin
        )

    def arguments(self, node: Node, target: Callable[..., Any], path: Place, *, called: str, owner: str) -> dict[str, Node]:
        """All keyword arguments of `target`: the given ones, and its defaults for the others."""
        known = parameters(target, owner)
        for key, child in node.items.items():
            if key not in known:
                self.problem(child.origin, (*path, key), f"unknown parameter of {called!r}.{did_you_mean(key, known)}")
        resolved = {}
        for key, parameter in known.items():
            given = node.items.get(key)
            if given is None or (given.value is None and not parameter.takes_null):
                if parameter.required:
                    origin = given.origin if given else node.origin
                    self.problem(
                        origin, (*path, key), f"is required by {called!r} and has no value; must be {parameter.allowed}"
                    )
                    continue
                given = from_python(parameter.default, Origin(f"default of {called}"))
            if parameter.kind is not None and given.value is not None:
                section = Node({"name": given}, given.origin) if isinstance(given.value, str) else given
                resolved[key] = self.section(section, ComponentSection(parameter.kind), (*path, key))
                continue
            try:
                resolved[key] = _with_origins(parameter.validate(plain(given)), given)
            except ValueError as error:
                self.problem(given.origin, (*path, key), str(error))
        return resolved
