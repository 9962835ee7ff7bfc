"""The language of maskers: names of one's own under `maskers:`, and operators over other maskers."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mae_core.config.merge import merge
from mae_core.config.operators import OPERATORS, Place
from mae_core.config.structure import ComponentSection, expand_names
from mae_core.config.yaml_tree import MAX_DEPTH, Node, Origin
from mae_registry import ConfigError, Registry, did_you_mean, resolve

MASKER = ComponentSection("maskers")


MAX_MASKERS = 500
"""Maskers that one recipe is made of, each counted as often as it is referred to."""


class Checker(Protocol):
    """What the check of a recipe offers to the check of its maskers."""

    registry: Registry
    problems: list[str]

    def problem(self, origin: Origin, path: Place, text: str) -> None:
        """Note one."""

    def component(self, node: Node, kind: str, path: Place) -> Node:
        """Check a section that names a registered component."""
        ...

    def arguments(self, node: Node, target: Callable[..., Any], path: Place, *, called: str, owner: str) -> dict[str, Node]:
        """Check keyword arguments."""
        ...


class MaskerChecker:
    """Checks masker sections and resolves what they refer to: what comes out needs no `maskers:` any more."""

    def __init__(self, checker: Checker, definitions: Mapping[str, Node]) -> None:
        self.checker = checker
        self.definitions = definitions
        self._resolved: dict[str, Node] = {}  # each is checked once, so that what is wrong with it is said once
        self._sizes: dict[str, int] = {}  # of how many maskers each is made
        self._num_maskers = 0
        self._open: list[str] = []  # those being resolved, to notice one that contains itself

    def masker(self, node: Node, path: Place) -> Node:
        """A section: a name, or one of the operators. A name alone may stand for `{name: ...}`."""
        self._count(1, node.origin)
        node = self.expanded(node)
        kinds = [key for key in ("name", *OPERATORS) if key in node.items and node.items[key].value is not None]
        if len(kinds) > 1:
            text = f"{' and '.join(map(repr, kinds))} each make a masker; keep one of them, or nest them"
            self.checker.problem(node.items[kinds[1]].origin, path, text)
            return node
        if kinds and kinds[0] in OPERATORS:
            return self._combined(node, kinds[0], path)
        name = node.items["name"] if kinds else None
        if name is not None and isinstance(name.value, str):
            if name.value in self.definitions:
                return self._reference(node, name, path)
            if name.value not in self._registered:
                return self._unknown(node, name, path)
        return self.checker.component(node, "maskers", path)

    def _count(self, number: int, origin: Origin) -> None:
        """Raise ConfigError where few lines refer to each other so often that nobody could wait for the end."""
        self._num_maskers += number
        if self._num_maskers > MAX_MASKERS:
            raise ConfigError(f"{origin}: the recipe is made of more than {MAX_MASKERS} maskers")
        if len(self._open) > MAX_DEPTH:
            raise ConfigError(f"{origin}: maskers refer to each other more than {MAX_DEPTH} deep")

    def problem(self, origin: Origin, path: Place, text: str) -> None:
        """Note one."""
        self.checker.problem(origin, path, text)

    def expanded(self, node: Node) -> Node:
        """A name alone as a section."""
        return expand_names(node, MASKER)

    def definition(self, name: str) -> Node:
        """One entry of `maskers:`, resolved."""
        if name not in self._resolved:
            node, path = self.definitions[name], ("maskers", name)
            self._resolved[name] = node
            if name in self._registered or name in OPERATORS:
                self.checker.problem(node.origin, path, f"{name!r} is a masker already; give this one another name")
                return node
            num_before = self._num_maskers
            self._open.append(name)
            self._resolved[name] = self.masker(node, path)
            self._open.pop()
            self._sizes[name] = self._num_maskers - num_before
        return self._resolved[name]

    @property
    def _registered(self) -> list[str]:
        return self.checker.registry.names("maskers")

    def _unknown(self, node: Node, name: Node, path: Place) -> Node:
        num_problems = len(self.checker.problems)
        node = self.checker.component(node, "maskers", path)
        if self.definitions and len(self.checker.problems) > num_problems:
            self.checker.problems[-1] += f" Under `maskers:` of this recipe:{did_you_mean(str(name.value), self.definitions)}"
        return node

    def _reference(self, node: Node, name: Node, path: Place) -> Node:
        """`{name: tube90, ratio: 0.8}` is the definition with these keys changed."""
        defined = str(name.value)
        if defined in self._open:
            chain = " -> ".join([*self._open[self._open.index(defined) :], defined])
            self.checker.problem(name.origin, path, f"a masker cannot contain itself: {chain}")
            return node
        changes = {key: child for key, child in node.items.items() if key != "name"}
        if not changes:
            self._count(self._sizes.get(defined, 0), node.origin)  # nothing, where it is resolved now
            return Node(self.definition(defined).value, node.origin)
        definition = self.expanded(self.definitions[defined])
        self._open.append(defined)
        resolved = self.masker(merge(definition, Node(changes, node.origin)), path)
        self._open.pop()
        return resolved

    def _combined(self, node: Node, operator: str, path: Place) -> Node:
        declared = OPERATORS[operator]
        keywords = {key: child for key, child in node.items.items() if key not in ("name", *OPERATORS)}
        owner = f"masker operator {operator!r}"
        given = Node(keywords, node.origin)
        arguments = self.checker.arguments(given, resolve(declared.target), path, called=operator, owner=owner)
        operand = declared.operand.check(node.items[operator], (*path, operator), self, arguments)
        return Node({operator: operand, **arguments}, node.origin)
