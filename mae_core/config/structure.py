"""What a recipe consists of: which path holds a component of which kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from mae_core.config.operators import operands, operator_of
from mae_core.config.yaml_tree import Node


@dataclass(frozen=True)
class ComponentSection:
    """`name` and the keyword arguments of a component of this kind."""

    kind: str
    optional: bool = False


@dataclass(frozen=True)
class SettingsSection:
    """Keyword arguments of one class ("package.module:Class"): there is nothing to choose, hence no `name`."""

    target: str


@dataclass(frozen=True)
class InstalledModality:
    """The name of an installed modality: of what kind an entry is that has a name of the user's own."""


@dataclass(frozen=True)
class PerModality:
    """One such entry for each modality of the model."""

    entry: "Shape"


@dataclass(frozen=True)
class Named:
    """Any number of such entries, with names that the user chooses."""

    entry: "Shape"
    optional: bool = False


Shape = Union[ComponentSection, SettingsSection, InstalledModality, PerModality, Named, Mapping[str, "Shape"]]  # noqa: UP007 - a forward reference

TASK = "pretrain"
"""What a recipe is for that says how to train, but not what."""

RECIPE: dict[str, Shape] = {
    "maskers": Named(ComponentSection("maskers")),
    "model": {
        "encoder": ComponentSection("encoders"),
        "masker": ComponentSection("maskers", optional=True),  # one for all modalities of paired data
        "terms": Named(ComponentSection("terms"), optional=True),
        "modalities": PerModality(
            {
                "type": InstalledModality(),
                "tokenizer": ComponentSection("tokenizers"),
                "positions": ComponentSection("positions"),
                "masker": ComponentSection("maskers"),
                "decoder": ComponentSection("decoders"),
                "decoder_positions": ComponentSection("positions", optional=True),
                "target": ComponentSection("targets"),
            }
        ),
    },
    "init": SettingsSection("mae_core.runs.init:InitSettings"),
    "task": ComponentSection("tasks"),
    "data": PerModality(ComponentSection("datasets")),
    "optimizer": ComponentSection("optimizers"),
    "schedule": ComponentSection("schedules"),
    "train": SettingsSection("mae_core.training.settings:TrainSettings"),
}


def expand_names(node: Node, shape: Shape = RECIPE) -> Node:
    """`masker: random` -> `masker: {name: random}`, wherever a component stands."""
    if isinstance(shape, ComponentSection) and isinstance(node.value, str):
        return Node({"name": node}, node.origin)
    if isinstance(shape, ComponentSection | SettingsSection | InstalledModality) or not isinstance(node.value, dict):
        return node

    def expand(key: str, child: Node) -> Node:
        child_shape = shape.entry if isinstance(shape, PerModality | Named) else shape.get(key)
        return expand_names(child, child_shape) if child_shape else child

    return Node({key: expand(key, child) for key, child in node.items.items()}, node.origin)


def component_sections(
    tree: Mapping[str, Any], shape: Shape = RECIPE, path: str = ""
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(path, kind, section) of every component of a resolved configuration; of combined maskers those that they are made of."""
    if isinstance(shape, ComponentSection):
        if shape.kind != "maskers" or operator_of(tree) is None:
            yield path, shape.kind, tree
        for place, section in operands(tree) if shape.kind == "maskers" else []:
            yield from component_sections(section, shape, f"{path}.{place}")
    elif not isinstance(shape, SettingsSection | InstalledModality):
        for key, section in tree.items():
            child = shape.entry if isinstance(shape, PerModality | Named) else shape[key]
            yield from component_sections(section, child, f"{path}.{key}" if path else key)
