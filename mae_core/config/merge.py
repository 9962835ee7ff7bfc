"""Layers of a configuration: an upper tree over a lower one."""

from mae_core.config.operators import operator_of
from mae_core.config.yaml_tree import Node


def merge(lower: Node | None, upper: Node, *, default: Node | None = None) -> Node:
    """Mappings merge, everything else replaces; a mapping whose `name` (a masker's operator) changes is replaced whole.

    `default` (a modality's defaults) is what a mapping begins with where the lower layers have none or had it removed,
    and where `name` changes to the one that the default names. A null stays in the tree: only the check of a component
    can tell whether it is a value or removes one.
    """
    if not isinstance(upper.value, dict):
        return upper
    start = lower if lower is not None and isinstance(lower.value, dict) else default
    if _name(upper) and _name(start) and _name(upper) != _name(start):
        start = default if _name(default) == _name(upper) else None
    items = dict(start.items) if start else {}
    for key, node in upper.items.items():
        items[key] = merge(items.get(key), node, default=default.items.get(key) if default else None)
    return Node(items, upper.origin)


def _name(section: Node | None) -> object:
    if section is None:
        return None
    name = section.items.get("name")
    return name.value if name else operator_of(section.items)  # a recipe has a `schedule` too, but nothing to be confused with
