"""The check of maskers passes what is sound, and says what is wrong with what is not."""

import sys
import types
from typing import Any

import pytest
from documents import ROOT, blocks

from mae_core import Grid
from mae_core.registry import registry
from mae_core.testing import check_masker
from mae_registry import Component

GRID = Grid(t=2, h=4, w=6)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "random", "ratio": 0.75},
        {"name": "random", "ratio": 0.5, "over": ["h", "w"]},
        {"name": "block", "ratio": 0.4, "min_patches": 2},
        {"name": "block", "ratio": 0.4, "min_patches": 2, "exact": False},
        "grid",
        {"name": "inverse_block", "ratio": 0.5},
        "multi_block",
        {"any": [{"name": "random", "over": ["t"], "ratio": 0.5}, {"name": "random", "over": ["h"], "ratio": 0.5}]},
        {"any": [{"name": "random", "ratio": 0.5}, {"name": "block", "ratio": 0.4, "min_patches": 2}], "ratio": 0.7},
        {"schedule": {"name": "random"}, "ratio": {"from": 0.6, "to": 0.85}},
        {"one_of": [{"name": "random", "ratio": 0.5}, {"name": "grid"}]},
        {"invert": {"name": "random", "ratio": 0.5}},
    ],
    ids=str,
)
def test_the_cores_maskers(section):
    check_masker(section, grid=GRID)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "global_generator",
            "drawing a mask uses the global generator of torch. Contract: mae_core.interfaces.Masker.forward",
        ),
        ("python_generator", "drawing a mask uses the global generator of random"),
        ("own_seed", "the mask does not depend on the generator; if that is meant, check with deterministic=True"),
        ("counting", "a generator of the same seed gives another mask"),
        ("unequal_second", "`hidden` is not what `ids_keep` leaves out"),
        ("nothing_counts", "nothing that is predicted counts in the loss"),
        ("counts_too_few", "`counts` of a query has the shape (4, 1)"),
        ("one_mask", "guided by one sample it does not draw as many masks as it is asked for"),
        ("fixed_ratio", "with_ratio gives another masker than one that is built with that ratio"),
        ("keeps_twice", "`ids_keep` holds a patch twice"),
        ("float_ids", "`ids_keep` is torch.float32, not torch.int64"),
        ("wrong_axes", "masks vary along the axis 'h', which axes leaves out. Contract: mae_core.interfaces.Masker.axes"),
        ("growing", "drawing masks changed the names of its parameters"),
        ("breaks_later", "`ids_keep` is empty: nothing is kept"),
    ],
)
def test_broken_maskers(fails, name, message):
    assert message in fails(check_masker, {"name": name, "ratio": 0.5}, grid=GRID)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unequal_rows", "rows of one batch hide different numbers of patches"),
        ("keeps_nothing", "`ids_keep` is empty: nothing is kept"),
        ("indexing", "on the grid another_axis=7 it raises ValueError (tuple.index(x): x not in tuple), where ConfigError"),
    ],
)
def test_broken_maskers_without_a_ratio(fails, name, message):
    assert message in fails(check_masker, name, grid=GRID)


def test_a_broken_masker_within_others(fails):
    section = {"any": [{"name": "global_generator", "ratio": 0.5}, {"name": "random", "ratio": 0.5}], "ratio": 0.7}
    assert "drawing a mask uses the global generator of torch" in fails(check_masker, section, grid=GRID)
    assert "building it failed: " in fails(check_masker, {"any": [{"name": "rondom"}]}, grid=GRID)


def test_the_documented_example(monkeypatch):
    """The plugin of docs/plugins.md, and the test that is shown of it."""
    shown_files = {block.file: block.text for block in blocks(ROOT / "docs" / "plugins.md") if block.file}
    plugin, test = shown_files["halves.py"], shown_files["test_halves.py"]
    halves = types.ModuleType("halves")
    exec(plugin, vars(halves))
    monkeypatch.setitem(sys.modules, "halves", halves)
    registry().add(Component("maskers", "halves", "halves:Halves", "test"))
    shown: dict[str, Any] = {}
    exec(test, shown)
    (cases,) = (mark.args[1] for mark in shown["test_it_keeps_the_contract"].pytestmark)
    for grid in cases:
        shown["test_it_keeps_the_contract"](grid)


def test_a_masker_may_be_deterministic():
    check_masker({"name": "own_seed", "ratio": 0.5}, grid=GRID, deterministic=True)


def test_parameters_that_a_check_must_give(fails):
    assert "maskers 'random': the check must give a value for ratio" in fails(check_masker, "random", grid=GRID)
