"""What a recipe consists of: which path holds a component of which kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

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
class PerModality:
    """One such entry for each modality of the model."""

    entry: "Shape"


Shape = Union[ComponentSection, SettingsSection, PerModality, Mapping[str, "Shape"]]  # noqa: UP007 - a forward reference

RECIPE: dict[str, Shape] = {
    "model": {
        "encoder": ComponentSection("encoders"),
        "masker": ComponentSection("maskers", optional=True),  # one for all modalities of paired data
        "modalities": PerModality(
            {
                "tokenizer": ComponentSection("tokenizers"),
                "positions": ComponentSection("positions"),
                "masker": ComponentSection("maskers"),
                "decoder": ComponentSection("decoders"),
                "target": ComponentSection("targets"),
            }
        ),
    },
    "data": PerModality(ComponentSection("datasets")),
    "optimizer": ComponentSection("optimizers"),
    "schedule": ComponentSection("schedules"),
    "train": SettingsSection("mae_core.train.settings:TrainSettings"),
}


def expand_names(node: Node, shape: Shape = RECIPE) -> Node:
    """`masker: random` -> `masker: {name: random}`, wherever a component stands."""
    if isinstance(shape, ComponentSection) and isinstance(node.value, str):
        return Node({"name": node}, node.origin)
    if isinstance(shape, ComponentSection | SettingsSection) or not isinstance(node.value, dict):
        return node

    def expand(key: str, child: Node) -> Node:
        child_shape = shape.entry if isinstance(shape, PerModality) else shape.get(key)
        return expand_names(child, child_shape) if child_shape else child

    return Node({key: expand(key, child) for key, child in node.items.items()}, node.origin)


def component_sections(
    tree: Mapping[str, Any], shape: Shape = RECIPE, path: str = ""
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(path, kind, section) of every component of a resolved configuration."""
    if isinstance(shape, ComponentSection):
        yield path, shape.kind, tree
    elif not isinstance(shape, SettingsSection):
        for key, section in tree.items():
            child = shape.entry if isinstance(shape, PerModality) else shape[key]
            yield from component_sections(section, child, f"{path}.{key}" if path else key)
