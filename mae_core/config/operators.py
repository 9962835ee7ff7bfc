"""The operators of the masker language: keys that make a masker of other maskers. Each is one declaration, in `OPERATORS`.

From it derive the check of recipes, their JSON schema, what `mae masks` lists and shows, and how the masker is built. Imports
no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mae_core.config.yaml_tree import Node, Origin, from_python, plain
from mae_registry import did_you_mean

Place = tuple[str, ...]
Section = Mapping[str, Any]
"""A masker as a resolved recipe has it."""


class Checker(Protocol):
    """What the check of maskers offers to the check of operands."""

    def problem(self, origin: Origin, path: Place, text: str) -> None:
        """Note one."""

    def masker(self, node: Node, path: Place) -> Node:
        """Check the section of a masker and resolve it."""
        ...

    def expanded(self, node: Node) -> Node:
        """A name alone as a section."""
        ...


class Operand(ABC):
    """What stands behind an operator's key."""

    written: ClassVar[str]
    """How a person would write it, in lists and messages."""

    @abstractmethod
    def check(self, node: Node, path: Place, checker: Checker, keywords: Mapping[str, Node]) -> Node:
        """The operand resolved, given the operator's other keys; problems are noted."""

    @abstractmethod
    def schema(self, masker: dict[str, Any]) -> dict[str, Any]:
        """JSON Schema, from that of one masker."""

    @abstractmethod
    def parts(self, value: Any) -> list[tuple[str, Section]]:
        """(place within the resolved operand, section) of every masker in it."""

    @abstractmethod
    def shortened(self, value: Any, shorten: Callable[[Section], Any]) -> Any:
        """The resolved operand as a person would write it."""

    def to_build(self, value: Any, keywords: Mapping[str, Any]) -> list[Section]:
        """The sections of the maskers that the operator is built with."""
        return [section for _, section in self.parts(value)]

    def wired(self, value: Any) -> Sequence[object]:
        """What the operator is given by position beside its maskers."""
        return ()


class One(Operand):
    """One masker."""

    written = "MASKER"

    def check(self, node: Node, path: Place, checker: Checker, keywords: Mapping[str, Node]) -> Node:
        """Check it like any masker."""
        return checker.masker(node, path)

    def schema(self, masker: dict[str, Any]) -> dict[str, Any]:
        """The schema of one masker."""
        return masker

    def parts(self, value: Any) -> list[tuple[str, Section]]:
        """The one."""
        return [("", value)]

    def shortened(self, value: Any, shorten: Callable[[Section], Any]) -> Any:
        """The one shortened."""
        return shorten(value)


class OneWithoutRatio(One):
    """One masker whose `ratio` the operator sets, by a key of the same name: a number, or a mapping with `from`."""

    def check(self, node: Node, path: Place, checker: Checker, keywords: Mapping[str, Node]) -> Node:
        """Checked with the first ratio, and left without one."""
        node = checker.expanded(node)
        if not isinstance(node.value, dict):
            return checker.masker(node, path)
        if "ratio" in node.items:
            text = "is what the schedule sets; leave it out here"
            checker.problem(node.items["ratio"].origin, (*path, "ratio"), text)
        first = _first(plain(keywords["ratio"])) if "ratio" in keywords else 0.5  # without a valid one: any, to check the rest
        resolved = checker.masker(Node({**node.items, "ratio": from_python(first, node.origin)}, node.origin), path)
        return Node({key: child for key, child in resolved.items.items() if key != "ratio"}, node.origin)

    def to_build(self, value: Any, keywords: Mapping[str, Any]) -> list[Section]:
        """The section with the first ratio, with which the part is built."""
        return [{**value, "ratio": _first(keywords["ratio"])}]


class Several(Operand):
    """A list of maskers."""

    written = "[MASKER, ...]"

    def check(self, node: Node, path: Place, checker: Checker, keywords: Mapping[str, Node]) -> Node:
        """Each entry."""
        if not isinstance(node.value, list) or not node.value:
            checker.problem(node.origin, path, f"{plain(node)!r} is not allowed: must be a list of maskers")
            return node
        entries = [self.check_entry(child, (*path, str(index)), checker) for index, child in enumerate(node.value)]
        return Node(entries, node.origin)

    def check_entry(self, node: Node, path: Place, checker: Checker) -> Node:
        """Check the entry like any masker."""
        return checker.masker(node, path)

    def schema(self, masker: dict[str, Any]) -> dict[str, Any]:
        """The schema of a list."""
        return {"type": "array", "items": masker, "minItems": 1}

    def parts(self, value: Any) -> list[tuple[str, Section]]:
        """The entries."""
        return [(str(index), section) for index, section in enumerate(value)]

    def shortened(self, value: Any, shorten: Callable[[Section], Any]) -> Any:
        """Each entry shortened."""
        return [shorten(section) for section in value]


class Weighted(Several):
    """A list of maskers with weights: `{masker: ..., weight: 3}`; a masker alone has the weight 1."""

    written = "[{masker: MASKER, weight: NUMBER}, ...]"

    def check_entry(self, node: Node, path: Place, checker: Checker) -> Node:
        """A masker and a weight."""
        if "masker" not in node.items:
            return Node({"masker": checker.masker(node, path), "weight": Node(1, node.origin)}, node.origin)
        for key, child in node.items.items():
            if key not in ("masker", "weight"):
                checker.problem(child.origin, (*path, key), f"unknown key.{did_you_mean(key, ['masker', 'weight'])}")
        weight = node.items.get("weight", Node(1, node.origin))
        if isinstance(weight.value, bool) or not isinstance(weight.value, int | float) or not 0 < weight.value < float("inf"):
            text = f"{plain(weight)!r} is not allowed: must be a number greater than 0"
            checker.problem(weight.origin, (*path, "weight"), text)
        return Node({"masker": checker.masker(node.items["masker"], (*path, "masker")), "weight": weight}, node.origin)

    def schema(self, masker: dict[str, Any]) -> dict[str, Any]:
        """The schema of a list whose entries may have weights."""
        properties = {"masker": masker, "weight": {"type": "number", "exclusiveMinimum": 0}}
        entry = {"type": "object", "properties": properties, "required": ["masker"], "additionalProperties": False}
        return super().schema({"anyOf": [entry, masker]})

    def parts(self, value: Any) -> list[tuple[str, Section]]:
        """The entries' maskers."""
        return [(f"{index}.masker", entry["masker"]) for index, entry in enumerate(value)]

    def shortened(self, value: Any, shorten: Callable[[Section], Any]) -> Any:
        """Without weights of 1."""
        pairs = [(shorten(entry["masker"]), entry["weight"]) for entry in value]
        return [masker if weight == 1 else {"masker": masker, "weight": weight} for masker, weight in pairs]

    def wired(self, value: Any) -> Sequence[object]:
        """The weights."""
        return [[entry["weight"] for entry in value]]


@dataclass(frozen=True)
class Operator:
    """A key that makes a masker of others."""

    target: str
    """Its class, "package.module:Class". The keyword-only parameters are the section's other keys; by position it is given
    its maskers, and whatever its operand is `wired` with."""
    operand: Operand


OPERATORS = {
    "any": Operator("mae_core.masking.compose:AnyMasker", Several()),
    "all": Operator("mae_core.masking.compose:AllMasker", Several()),
    "one_of": Operator("mae_core.masking.compose:OneOfMasker", Weighted()),
    "schedule": Operator("mae_core.masking.schedule:ScheduleMasker", OneWithoutRatio()),
    "invert": Operator("mae_core.masking.compose:InvertMasker", One()),
    "repeat": Operator("mae_core.masking.compose:RepeatMasker", One()),
}


def operator_of(section: Mapping[str, Any]) -> str | None:
    """The operator of a masker that is made of others."""
    return next((key for key in OPERATORS if key in section), None)


def operands(section: Section) -> list[tuple[str, Section]]:
    """(place within the section, section) of the maskers that a resolved one is made of."""
    operator = operator_of(section)
    if operator is None:
        return []
    parts = OPERATORS[operator].operand.parts(section[operator])
    return [(f"{operator}.{place}".rstrip("."), part) for place, part in parts]


def _first(ratio: Any) -> Any:
    """The ratio that a changing ratio begins with."""
    return ratio["from"] if isinstance(ratio, Mapping) else ratio
