"""YAML <-> a tree whose every node knows where it was written. Scalars are those of YAML 1.2: `yes` and `1:30` are strings."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic_core import PydanticSerializationError, to_jsonable_python

from mae_registry import ConfigError

_TAG = "tag:yaml.org,2002:"
_SCALARS = {  # resolved by pattern: (pattern, the characters that it can begin with)
    "null": (r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
}

MAX_CHARACTERS = 2**18
"""Of a recipe's text. It is read in seconds; the longest shipped recipe is a hundredth of that."""
MAX_VALUES = 20_000
"""Of one tree. Aliases of aliases make billions of values from a few lines."""
MAX_DEPTH = 50
"""Lists and mappings around a value."""
MAX_INTEGER = 2**63
"""Integers are less than this, of either sign: neither torch nor JSON readers take larger ones."""


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: a file and line, "command line", "default of vit"..."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A scalar, a list of nodes, or a mapping of names to nodes. The origin of a mapping's item is the line of its key."""

    value: Any
    origin: Origin

    @property
    def items(self) -> dict[str, "Node"]:
        """The mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}


class _Loader(yaml.SafeLoader):
    """Composes nodes only: what they become is decided here, so no tag can run code."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or 1.2 would take for something else than text."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # pyyaml would write these raw, and read them as line breaks
        style = '"' if re.search("[\x85\u2028\u2029]", data) else None
        return self.represent_scalar(_TAG + "str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), _first)


def plain(tree: Any) -> Any:
    """The tree without its origins: fresh dictionaries and lists of plain values."""
    if isinstance(tree, Node):
        return plain(tree.value)
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(item) for item in tree] if isinstance(tree, list) else tree


def from_python(value: Any, origin: Origin, *, depth: int = 0) -> Node:
    """A tree of Python values, all of one origin. Raises ConfigError for what YAML could not say.

    `depth`: the lists and mappings around the value.
    """
    if depth > MAX_DEPTH:
        raise ConfigError(f"{origin}: lists and mappings are nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{origin}: the key {key!r} is not a string")
        return Node({key: from_python(item, origin, depth=depth + 1) for key, item in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Node([from_python(item, origin, depth=depth + 1) for item in value], origin)
    if isinstance(value, int):
        _require_size(value, origin)
    try:
        return Node(to_jsonable_python(value), origin)
    except PydanticSerializationError:
        raise ConfigError(f"{origin}: {value!r} cannot be in a recipe; write numbers, strings, lists and mappings") from None


def to_yaml(data: Any) -> str:
    """YAML text that `parse_yaml` reads as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def parse_yaml(text: str, source: str, *, numbered: bool = True) -> Node:
    """Parse one document. `source` names it in errors and origins, with lines if `numbered`. Raises ConfigError."""

    def at(line: int | None) -> Origin:
        return Origin(source, line if numbered else None)

    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{at(None)}: is longer than {MAX_CHARACTERS:,} characters, and so no recipe")
    try:
        root = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise ConfigError(f"{at(None)}: lists and mappings are nested more than {MAX_DEPTH} deep") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{at(mark.line + 1 if mark else None)}: {_sentence(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{at(line)}: the character {chr(int(error.character))!r} is not allowed in YAML") from None
    if root is None:
        return Node(None, at(None))
    return _Converter(at).convert(root, root.start_mark.line + 1)


_PROBLEMS = {
    r"'\t'": "a tab cannot indent YAML; use spaces",
    "mapping values are not allowed here": 'an unexpected ": "; check the indentation, or put the text in quotes',
    "but found another document": "a second document (---) begins here; a recipe is one",
}


def _sentence(error: yaml.MarkedYAMLError) -> str:
    """pyyaml's finding in words, with the line at which what it was reading began."""
    problem = error.problem or "cannot be read"
    for part, words in _PROBLEMS.items():
        if part in problem:
            return words
    began = f" ({error.context}, which begins in line {error.context_mark.line + 1})" if error.context_mark else ""
    return f"not valid YAML: {problem}{began}"


class _Converter:
    def __init__(self, at: Callable[[int | None], Origin]) -> None:
        self.at = at
        self.open: list[yaml.Node] = []  # the collections around the current node, to notice one that contains itself
        self.num_values = 0

    def convert(self, node: yaml.Node, line: int) -> Node:
        """`line` is what the result's origin says, 1-based."""
        if any(node is outer for outer in self.open):
            raise ConfigError(f"{self.at(line)}: an alias (*) is used inside its own definition")
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise ConfigError(f"{self.at(line)}: the recipe has more than {MAX_VALUES:,} values, those of aliases (*) counted")
        if len(self.open) > MAX_DEPTH:
            raise ConfigError(f"{self.at(line)}: lists and mappings are nested more than {MAX_DEPTH} deep")
        self.open.append(node)
        try:
            return Node(self._value(node, line), self.at(line))
        finally:
            self.open.pop()

    def _value(self, node: yaml.Node, line: int) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.convert(item, item.start_mark.line + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and kind in ("str", *_SCALARS):
            if kind != "str" and not re.fullmatch(_SCALARS[kind][0], node.value):
                raise ConfigError(f"{self.at(line)}: {node.value!r} is not what its tag !!{kind} says")
            return _scalar(kind, node.value, self.at(line))
        tag = node.tag.replace(_TAG, "!!")
        raise ConfigError(f"{self.at(line)}: the tag {tag} is not allowed: a recipe holds plain values and cannot run code")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        items: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.convert(key_node, line).value
            if not isinstance(key, str):
                raise ConfigError(
                    f"{self.at(line)}: the key {plain(key)!r} is not a string; put it in quotes if it is meant as one"
                )
            if key == "<<":
                raise ConfigError(
                    f"{self.at(line)}: merge keys (<<) are not part of YAML 1.2; use `extends`, or repeat the keys"
                )
            if key in items:
                raise ConfigError(f"{self.at(line)}: the key {key!r} is given twice, first in line {items[key].origin.line}")
            items[key] = self.convert(value_node, line)
        return items


def _require_size(number: int, origin: Origin) -> None:
    if abs(number) >= MAX_INTEGER:
        raise ConfigError(f"{origin}: an integer of {number.bit_length()} bits is too large; numbers here have at most 63")


def _scalar(kind: str, text: str, origin: Origin) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        try:
            number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:  # Python reads no thousands of digits
            raise ConfigError(f"{origin}: an integer of {len(text):,} digits is too large") from None
        _require_size(number, origin)
        return number
    return float(re.sub(r"\.(?=[in])", "", text.lower())) if kind == "float" else text
