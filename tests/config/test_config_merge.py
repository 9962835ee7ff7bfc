from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mae_core.config.merge import merge
from mae_core.config.yaml_tree import Node, Origin, from_python, plain


def over(lower: Any, upper: Any, default: Any = None) -> Any:
    low, up = (from_python(data, Origin(source)) for data, source in ((lower, "lower"), (upper, "upper")))
    return plain(merge(low, up, default=None if default is None else from_python(default, Origin("default"))))


def test_mappings_merge_and_everything_else_replaces() -> None:
    lower = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 1}
    upper = {"a": {"c": [3]}, "d": 5, "f": {"g": 2}, "h": None}
    assert over(lower, upper) == {"a": {"b": 1, "c": [3]}, "d": 5, "f": {"g": 2}, "h": None}


def test_a_section_whose_name_changes_is_replaced_whole() -> None:
    assert over({"m": {"name": "random", "ratio": 0.5}}, {"m": {"name": "block"}}) == {"m": {"name": "block"}}
    assert over({"m": {"name": "random", "ratio": 0.5}}, {"m": {"name": "random", "x": 1}}) == {
        "m": {"name": "random", "ratio": 0.5, "x": 1}
    }
    assert over({"m": {"name": "random", "ratio": 0.5}}, {"m": {"ratio": 0.6}}) == {"m": {"name": "random", "ratio": 0.6}}
    assert over({"m": {"ratio": 0.5}}, {"m": {"name": "block"}}) == {"m": {"name": "block", "ratio": 0.5}}


def test_a_default_holds_for_the_component_that_it_names() -> None:
    default = {"m": {"name": "random", "ratio": 0.75}}
    assert over({"m": {"name": "block", "exact": True}}, {"m": {"name": "random"}}, default) == default
    assert over({"m": {"name": "random", "ratio": 0.5}}, {"m": {"name": "block"}}, default) == {"m": {"name": "block"}}


def test_what_was_removed_begins_from_the_default() -> None:
    default = {"m": {"name": "random", "ratio": 0.75}}
    assert over({"m": None}, {"m": {}}, default) == default
    assert over({"m": None}, {"m": {"ratio": 0.5}}, default) == {"m": {"name": "random", "ratio": 0.5}}
    assert over({"m": None}, {"m": {"name": "block"}}, default) == {"m": {"name": "block"}}


def test_origins_are_of_the_layer_that_said_it_last() -> None:
    merged = merge(from_python({"a": {"b": 1, "c": 1}}, Origin("lower")), from_python({"a": {"c": 2}}, Origin("upper")))
    a = merged.items["a"]
    assert [str(node.origin) for node in (a, a.items["b"], a.items["c"])] == ["upper", "lower", "upper"]


_leaves = st.integers(0, 3) | st.none() | st.lists(st.integers(0, 3), max_size=2)
_trees = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(_leaves, lambda inner: st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3)),
)


@given(_trees)
def test_merging_with_itself_or_with_nothing_changes_nothing(tree: dict[str, Any]) -> None:
    assert over(tree, tree) == over(tree, {}) == over({}, tree) == tree


@given(_trees, _trees)
def test_the_upper_layer_prevails_and_the_inputs_stay(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    low, up = from_python(lower, Origin("lower")), from_python(upper, Origin("upper"))
    merged = merge(low, up)
    assert merge(merged, up) == merged
    assert (plain(low), plain(up)) == (lower, upper)
    assert _says(plain(merged), upper)


def _says(merged: Any, upper: Any) -> bool:
    """Whether every leaf of `upper` is in `merged`."""
    if isinstance(upper, dict):
        return isinstance(merged, dict) and all(key in merged and _says(merged[key], value) for key, value in upper.items())
    return merged == upper


_nested = st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.sampled_from("cd"), st.integers(0, 3)))


@given(_nested, _nested, _nested)
def test_nameless_sections_merge_alike_in_any_grouping(a: Any, b: Any, c: Any) -> None:
    assert over(over(a, b), c) == over(a, over(b, c))


def test_a_node_that_is_no_mapping_has_no_items() -> None:
    assert Node([1], Origin("x")).items == {}
