import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mae_core.config.yaml_tree import Node, Origin, from_python, parse_yaml, plain, to_yaml
from mae_registry import ConfigError


def read(text: str) -> Any:
    return plain(parse_yaml(text, "x.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.5E4", 15000.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("+12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0xfF", 255),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2026-11-21", "2026-11-21"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("nullable", "nullable"),
        ("1e", "1e"),
        (".", "."),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(read(".nan"))


def test_every_node_knows_its_line() -> None:
    tree = parse_yaml("# comment\nmodel:\n  encoder: {name: vit,\n    width: 4}\n  list:\n    - 1\n    - {a: 2}\n", "x.yaml")
    model = tree.items["model"]
    assert str(model.origin) == "x.yaml:2"
    assert str(model.items["encoder"].items["name"].origin) == "x.yaml:3"
    assert str(model.items["encoder"].items["width"].origin) == "x.yaml:4"
    assert str(model.items["list"].value[1].items["a"].origin) == "x.yaml:7"


def test_an_alias_is_where_it_is_used_and_its_items_where_they_were_written() -> None:
    tree = parse_yaml("a: &a\n  x: 1\nb: *a\n", "x.yaml")
    assert plain(tree) == {"a": {"x": 1}, "b": {"x": 1}}
    assert tree.items["b"].origin.line == 3
    assert tree.items["b"].items["x"].origin.line == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "x.yaml:5: the key 'c' is given twice, first in line 3"),
        ("a:\n  b: !!python/object/apply:os.system [ls]\n", "x.yaml:2: the tag !!python/object/apply:os.system is not allowed"),
        ("a: !mine 3\n", "x.yaml:1: the tag !mine is not allowed: a recipe holds plain values and cannot run code"),
        ("a: !!set {1}\n", "x.yaml:1: the tag !!set is not allowed"),
        ("a: !!int lots\n", "x.yaml:1: 'lots' is not what its tag !!int says"),
        ("a: !!bool yes\n", "x.yaml:1: 'yes' is not what its tag !!bool says"),
        ("a:\n\tb: 1\n", "x.yaml:2: a tab cannot indent YAML; use spaces"),
        ("a: 1\nb: c: 2\n", 'x.yaml:2: an unexpected ": "; check the indentation'),
        ("a: [1, 2\nb: 3\n", "x.yaml:2: not valid YAML: "),
        ("a: 1\n---\nb: 1\n", "x.yaml:2: a second document (---) begins here; a recipe is one"),
        ("a: *nowhere\n", "x.yaml:1: not valid YAML: found undefined alias 'nowhere'"),
        ("a: &a\n  b: *a\n", "x.yaml:2: an alias (*) is used inside its own definition"),
        ("1: a\n", "x.yaml:1: the key 1 is not a string; put it in quotes"),
        ("? [a, b]\n: 1\n", "x.yaml:1: the key ['a', 'b'] is not a string"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "x.yaml:3: merge keys (<<) are not part of YAML 1.2; use `extends`"),
        ("a: 1\nb: \x00\n", r"x.yaml:2: the character '\x00' is not allowed in YAML"),
    ],
)
def test_errors_say_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "x.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_an_unclosed_list_says_where_it_begins() -> None:
    with pytest.raises(ConfigError, match=r"which begins in line 1\)"):
        parse_yaml("a: [1, 2\nb: 3\n", "x.yaml")


def test_from_python() -> None:
    origin = Origin("mapping")
    assert from_python({"a": (1, None)}, origin) == Node({"a": Node([Node(1, origin), Node(None, origin)], origin)}, origin)
    with pytest.raises(ConfigError, match="mapping: the key 1 is not a string"):
        from_python({"a": {1: 2}}, origin)
    with pytest.raises(ConfigError, match=r"mapping: <object object at .*> cannot be in a recipe"):
        from_python({"a": object()}, origin)


_scalars = st.none() | st.booleans() | st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False) | st.text()
_numberlike = st.text("0123456789eE+-._:xo~", max_size=6) | st.sampled_from(
    ["yes", "no", "on", "null", "true", "<<", "=", "1e3"]
)
_keys = st.text().filter(lambda key: key != "<<")
_data = st.recursive(
    _scalars | _numberlike, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4)
)


@given(_data)
@example({"\x85": "a\u2028b"})
def test_what_is_written_reads_as_the_same_data(data: Any) -> None:
    assert repr(read(to_yaml(data))) == repr(data)  # repr: 1, 1.0 and True differ
