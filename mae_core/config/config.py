"""`load_config`: from a recipe's name, a path or a mapping to a checked configuration with every default in it."""

import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from mae_core.config.check import modality_defaults, resolve, resolve_masker
from mae_core.config.merge import merge
from mae_core.config.recipes import read_layers, shipped_recipe
from mae_core.config.structure import expand_names
from mae_core.config.yaml_tree import Node, Origin, from_python, parse_yaml, plain, to_yaml
from mae_core.registry import registry as process_registry
from mae_registry import ConfigError, Registry, did_you_mean


class MissingKeyError(ConfigError, KeyError):
    """A key that the configuration has not."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


class Config(Mapping[str, Any]):
    """A resolved and checked configuration. `cfg["model"]["encoder"]["width"]` and `cfg["model.encoder.width"]` are the same.

    Values are as the components take them, e.g. tuples. What is handed out is a copy: a configuration does not change.
    """

    def __init__(self, name: str, tree: Node, *, based_on: str | None = None) -> None:
        """`based_on`: the shipped recipe that it is, or extends."""
        self.name = name
        self.based_on = based_on
        self._tree = tree

    def __getitem__(self, key: str) -> Any:
        return copy.deepcopy(plain(self._node(key)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree.items)

    def __len__(self) -> int:
        return len(self._tree.items)

    def __repr__(self) -> str:
        return f"Config({self.name!r}, {plain(self._tree)!r})"

    def origin(self, key: str) -> str:
        """Where a value comes from, e.g. "configs/image/mae_vit_base.yaml:12", "command line" or "default of vit"."""
        return str(self._node(key).origin)

    def renamed(self, name: str, *, based_on: str | None) -> "Config":
        """The same values, as those of the recipe from which they were taken."""
        return Config(name, self._tree, based_on=based_on)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and scalars."""
        return to_jsonable_python(plain(self._tree))

    def to_yaml(self) -> str:
        """YAML that `load_config` reads as an equal configuration, also where defaults have changed since."""
        return to_yaml(self.to_dict())

    def _node(self, key: str) -> Node:
        node = self._tree
        for depth, part in enumerate(parts := key.split(".")):
            if part not in node.items:
                inside = f" in {'.'.join(parts[:depth])!r}" if depth else ""
                raise MissingKeyError(f"config {self.name!r} has no {part!r}{inside}.{did_you_mean(part, node.items)}")
            node = node.items[part]
        return node


def load_config(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, registry: Registry | None = None
) -> Config:
    """Read, merge, fill in and check a configuration.

    `source` is a shipped recipe's name ("image/mae_vit_base"), a path to a YAML file, or a mapping; `overrides` are
    "key.path=value" with YAML values. Precedence, lowest first: the components' signatures, the modality's defaults, what
    the recipe extends, the recipe, the overrides. Raises ConfigError that lists everything that is wrong, each with its place.
    """
    registry = process_registry() if registry is None else registry
    name, layers = read_layers(source)
    layers = [expand_names(layer) for layer in [*layers, *map(parse_override, overrides)]]
    default = expand_names(modality_defaults(layers, registry))
    tree = functools.reduce(lambda lower, upper: merge(lower, upper, default=default), layers, default)
    return Config(name, resolve(tree, registry), based_on=shipped_recipe(source))


def load_masker(
    section: str | Mapping[str, Any], *, named: Mapping[str, Any] | None = None, registry: Registry | None = None
) -> dict[str, Any]:
    """A masker's section, checked and with every default in it: {"name": "random", "ratio": 0.9}, {"any": [...]}...

    Also as YAML text, a name alone included. `named`: what `maskers:` of a recipe would hold. Raises ConfigError.
    """
    is_text = isinstance(section, str)
    node = parse_yaml(section, "masker", numbered=False) if is_text else from_python(section, Origin("masker"))
    tree = resolve_masker(node, from_python(named or {}, Origin("maskers")), registry or process_registry())
    return to_jsonable_python(plain(tree))


def parse_override(override: str) -> Node:
    """ "train.epochs=10" as a tree."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"override {override!r}: write key.path=value, e.g. train.epochs=10")
    try:
        node = parse_yaml(text, "command line", numbered=False)
    except ConfigError as error:
        raise ConfigError(f"override {override!r}: {str(error).removeprefix('command line: ')}") from None
    if re.search(r"(^|\s)#", text) and (node.value is None or (isinstance(node.value, str) and text.lstrip()[0] not in "'\"")):
        node = Node(text.strip(), node.origin)  # a command line has no comments: `data.image.root=my #folder`
    for part in reversed(parts):
        node = Node({part: node}, Origin("command line"))
    return node
