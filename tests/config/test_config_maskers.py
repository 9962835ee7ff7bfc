"""The language of maskers: what sections mean, before any mask is drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mae_core.config import Config, load_config, load_masker
from mae_core.config.structure import component_sections
from mae_registry import ConfigError, Registry

RECIPE = """\
maskers:
  half: {name: random, ratio: 0.5}
  rows: {name: random, ratio: 0.5, over: [h]}
  both: {any: [half, rows], ratio: 0.7}
model:
  encoder: {name: vit, width: 8}
  modalities:
    image:
      masker: half
"""
MASKER = "model.modalities.image.masker"
HALF = {"name": "random", "ratio": 0.5, "over": None}
ROWS = {"name": "random", "ratio": 0.5, "over": ["h"]}
BLOCK = {"name": "block", "ratio": 0.4, "exact": True}


@pytest.fixture
def load(tmp_path: Path, registry: Registry) -> Callable[..., Config]:
    def load(text: str = RECIPE, *overrides: str) -> Config:
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return load_config(path, overrides, registry=registry)

    return load


@pytest.mark.parametrize(
    ("masker", "resolved"),
    [
        ("half", HALF),
        ("{name: half}", HALF),
        ("{name: half, over: [w]}", {**HALF, "over": ["w"]}),
        ("both", {"any": [HALF, ROWS], "ratio": 0.7, "ragged": False}),
        ("{name: both, ratio: 0.6}", {"any": [HALF, ROWS], "ratio": 0.6, "ragged": False}),
        ("{all: [half, block], ragged: true}", {"all": [HALF, BLOCK], "ratio": None, "ragged": True}),
        ("{invert: {invert: rows}}", {"invert": {"invert": ROWS}}),
        (
            "{one_of: [half, {masker: rows, weight: 3}]}",
            {"one_of": [{"masker": HALF, "weight": 1}, {"masker": ROWS, "weight": 3}], "per": "batch"},
        ),
        (
            "{schedule: rows, ratio: {from: 0.6, to: 0.85}}",
            {"schedule": {"name": "random", "over": ["h"]}, "ratio": {"from": 0.6, "to": 0.85, "shape": "linear"}},
        ),
        ("{schedule: block, ratio: 0.6}", {"schedule": {"name": "block", "exact": True}, "ratio": 0.6}),
        (
            "{schedule: {any: [half, rows]}, ratio: {from: 0.6, to: 0.8, shape: steps, num_steps: 3}}",
            {
                "schedule": {"any": [HALF, ROWS], "ragged": False},
                "ratio": {"from": 0.6, "to": 0.8, "shape": "steps", "num_steps": 3},
            },
        ),
    ],
)
def test_what_a_section_means(load: Callable[..., Config], registry: Registry, masker: str, resolved: Any) -> None:
    cfg = load(RECIPE, f"{MASKER}={masker}")
    assert cfg.to_dict()["model"]["modalities"]["image"]["masker"] == resolved
    again = load_config(cfg.to_dict(), registry=registry)
    assert again.to_dict() == cfg.to_dict()


def test_definitions_stay_in_a_resolved_recipe(load: Callable[..., Config]) -> None:
    assert load().to_dict()["maskers"] == {
        "half": HALF,
        "rows": ROWS,
        "both": {"any": [HALF, ROWS], "ratio": 0.7, "ragged": False},
    }
    assert "maskers" not in load(RECIPE, "maskers=null", f"{MASKER}=block").to_dict()


@pytest.mark.parametrize(
    ("overrides", "resolved"),
    [
        ([f"{MASKER}.ratio=0.8"], {**HALF, "ratio": 0.8}),  # a key of the masker that the recipe names
        ([f"{MASKER}={{any: [half, rows], ragged: true}}"], {"any": [HALF, ROWS], "ratio": None, "ragged": True}),
        ([f"{MASKER}=both", f"{MASKER}.ratio=0.6"], {"any": [HALF, ROWS], "ratio": 0.6, "ragged": False}),
        ([f"{MASKER}={{any: [half]}}", f"{MASKER}={{all: [half]}}"], {"all": [HALF], "ratio": None, "ragged": False}),
        ([f"{MASKER}={{any: [half]}}", f"{MASKER}.name=block"], BLOCK),
        (["maskers.half.ratio=0.3"], {**HALF, "ratio": 0.3}),
        (["maskers.half={invert: rows}"], {"invert": ROWS}),
    ],
)
def test_layers_merge_and_a_section_of_another_kind_is_replaced(
    load: Callable[..., Config], overrides: list[str], resolved: Any
) -> None:
    assert load(RECIPE, *overrides).to_dict()["model"]["modalities"]["image"]["masker"] == resolved


def test_the_values_of_a_mapping_have_their_places(load: Callable[..., Config]) -> None:
    ramp = "{schedule: rows, ratio: {from: 0.6, to: 0.85}}"
    cfg = load(RECIPE.replace("masker: half", f"masker: {ramp}"), f"{MASKER}.ratio.to=0.9")
    assert cfg[f"{MASKER}.ratio"] == {"from": 0.6, "to": 0.9, "shape": "linear"}
    assert cfg.origin(f"{MASKER}.ratio.from").endswith("x.yaml:9")
    assert cfg.origin(f"{MASKER}.ratio.to") == "command line"


@pytest.mark.parametrize(
    ("masker", "message"),
    [
        ("haf", "x.yaml:9: {0}.name: unknown maskers name 'haf'. Known: block, random. Under `maskers:` of this recipe: "
                "Did you mean 'half'? Known: both, half, rows."),
        ("{any: [half, rows], over: [h]}", "x.yaml:9: {0}.over: unknown parameter of 'any'. Known: ragged, ratio."),
        ("{any: half}", "x.yaml:9: {0}.any: 'half' is not allowed: must be a list of maskers"),
        ("{any: []}", "x.yaml:9: {0}.any: [] is not allowed: must be a list of maskers"),
        ("{any: [half], all: [rows]}",
         "x.yaml:9: {0}: 'any' and 'all' each make a masker; keep one of them, or nest them"),
        ("{name: half, invert: rows}",
         "x.yaml:9: {0}: 'name' and 'invert' each make a masker; keep one of them, or nest them"),
        ("{any: [half, {name: random}]}",
         "x.yaml:9: {0}.any.1.ratio: is required by 'random' and has no value; "
         "must be a number greater than 0 and less than 1"),
        ("{one_of: [{masker: half, weigth: 3}]}",
         "x.yaml:9: {0}.one_of.0.weigth: unknown key. Did you mean 'weight'? Known: masker, weight."),
        ("{one_of: [{masker: half, weight: -1}]}",
         "x.yaml:9: {0}.one_of.0.weight: -1 is not allowed: must be a number greater than 0"),
        ("{schedule: {name: random, ratio: 0.5}, ratio: 0.6}",
         "x.yaml:9: {0}.schedule.ratio: is what the schedule sets; leave it out here"),
        ("{schedule: {invert: rows}, ratio: 0.6}",
         "x.yaml:9: {0}.schedule.ratio: unknown parameter of 'invert'. Known: (none)."),
        ("{schedule: block, ratio: {from: 0.6, to: 1.5}}",
         '{"from": 0.6, "to": 1.5} is not allowed: must be a number greater than 0 and less than 1 or a mapping of from (a '
         'number greater than 0 and less than 1), to (a number greater than 0 and less than 1), shape ("linear" or "cosine" '
         'or "steps"), num_steps (a whole number at least 2)'),
        ("{schedule: block, ratio: {from: 0.6, to: 0.8, num_steps: 3}}",
         "`shape: steps` and num_steps must be given together, e.g. {from: 0.6, to: 0.9, shape: steps, num_steps: 4}"),
    ],
)  # fmt: skip
def test_mistakes(load: Callable[..., Config], masker: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(RECIPE.replace("masker: half", f"masker: {masker}"))
    assert message.replace("{0}", MASKER) in str(error.value)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        ("{a: {invert: a}}", "x.yaml:1: maskers.a.invert: a masker cannot contain itself: a -> a"),
        (
            "{a: {invert: b}, b: {all: [half, {name: c, ratio: 0.5}]}, c: {any: [a]}, half: {name: random, ratio: 0.5}}",
            "x.yaml:1: maskers.b.all.1.any.0: a masker cannot contain itself: a -> b -> c -> a",
        ),
        (
            "{random: {name: random, ratio: 0.5}, half: block}",
            "x.yaml:1: maskers.random: 'random' is a masker already; give this one another name",
        ),
        ("{any: block, half: block}", "x.yaml:1: maskers.any: 'any' is a masker already; give this one another name"),
        ("{half: {name: blok}}", "x.yaml:1: maskers.half.name: unknown maskers name 'blok'. Did you mean 'block'?"),
        ("[half]", "x.yaml:1: maskers: ['half'] is not allowed: must be a mapping of names to maskers"),
    ],
)
def test_mistakes_in_definitions_are_told_where_they_stand_and_once(
    load: Callable[..., Config], definitions: str, message: str
) -> None:
    text = f"maskers: {definitions}\nmodel: {{encoder: {{name: vit, width: 8}}, modalities: {{image: {{masker: block}}}}}}\n"
    for used in ("block", "half" if "half:" in definitions else "block"):
        with pytest.raises(ConfigError) as error:
            load(text.replace("masker: block", f"masker: {used}"))
        assert message in str(error.value)
        assert str(error.value).count("\n") == 0


def test_parts_of_a_combined_masker_are_components_of_the_recipe(load: Callable[..., Config]) -> None:
    cfg = load(RECIPE, f"{MASKER}={{one_of: [{{masker: {{any: [half, block], ratio: 0.5}}}}, {{schedule: rows, ratio: 0.6}}]}}")
    found = [(path.removeprefix(MASKER), section["name"]) for path, kind, section in component_sections(cfg.to_dict())
             if kind == "maskers" and path.startswith(MASKER)]  # fmt: skip
    assert found == [(".one_of.0.masker.any.0", "random"), (".one_of.0.masker.any.1", "block"),
                     (".one_of.1.masker.schedule", "random")]  # fmt: skip


def test_a_masker_alone(registry: Registry) -> None:
    named = {"half": {"name": "random", "ratio": 0.5}}
    assert load_masker("half", named=named, registry=registry) == HALF
    assert load_masker("{invert: half}", named=named, registry=registry) == {"invert": HALF}
    assert load_masker({"invert": "half"}, named=named, registry=registry) == {"invert": HALF}
    with pytest.raises(ConfigError, match=r"^masker: invert\.name: unknown maskers name 'haf'\."):
        load_masker("{invert: haf}", named=named, registry=registry)
    with pytest.raises(ConfigError, match=r"^masker: not valid YAML"):
        load_masker("{invert: ", registry=registry)
