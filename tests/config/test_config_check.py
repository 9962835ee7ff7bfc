from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from mae_core.config import Config
from mae_core.config.signature import parameters
from mae_registry import Component, ConfigError, PluginError, Registry

Load = Callable[..., Config]
Write = Callable[[str, str], str]

RECIPE = """\
model:
  encoder: {name: vit, width: 768}
  modalities:
    image:
      masker:
        ratio: 0.6
"""


def problems(load: Load, source: Any, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(source, *overrides)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1", "1"),
        ("-1", "-1"),
        ("0", "0"),
        ("1.5", "1.5"),
        ("a lot", '"a lot"'),
        ("true", "true"),
        ("[0.5]", "[0.5]"),
        (".nan", "NaN"),
    ],
)
def test_a_ratio_that_is_none(load: Load, write: Write, value: str, found: str) -> None:
    file = write("x.yaml", RECIPE.replace("0.6", value))
    key = "model.modalities.image.masker.ratio"
    assert problems(load, file) == [f"x.yaml:6: {key}: {found} is not allowed: must be a number greater than 0 and less than 1"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modell.x=1", "modell: unknown key. Did you mean 'model'?"),
        ("model.decoder=vit", "model.decoder: unknown key. Did you mean 'encoder'?"),
        ("model.encoder=vti", "model.encoder.name: unknown encoders name 'vti'. Did you mean 'vit'? Known: vit."),
        ("model.encoder.name=3", "model.encoder.name: 3 is not a name; name one of: vit"),
        ("model.encoder=[1]", "model.encoder: [1] is not allowed: must be a mapping with a `name`, or a name alone: vit"),
        ("model.encoder=null", "model.encoder: is missing; name one of: vit"),
        (
            "model.encoder.width=null",
            "model.encoder.width: is required by 'vit' and has no value; must be a whole number greater than 0",
        ),
        ("model.encoder.width=7.0", "model.encoder.width: 7.0 is not allowed: must be a whole number greater than 0"),
        ("model.encoder.width.x=1", 'model.encoder.width: {"x": 1} is not allowed: must be a whole number greater than 0'),
        ("model.encoder.built=1", "model.encoder.built: unknown parameter of 'vit'. Known: depth, mlp_ratio, width."),
        ("model.modalities=image", "model.modalities: 'image' is not allowed: must be a mapping of modalities"),
        ("model.modalities.image=null", "model.modalities: needs at least one modality; known: image"),
        ("model.modalities=null", "model.modalities: is missing"),
        ("model=null", "model: is missing"),
        ("model=3", "model: 3 is not allowed: must be a mapping"),
        (
            "model.modalities.video={}",
            "model.modalities.video: modality 'video' is not installed; known: image; install it with: mae install video",
        ),
        ("model.modalities.image.mask=random", "model.modalities.image.mask: unknown key. Did you mean 'masker'?"),
        ("model.modalities.image.masker=null", "model.modalities.image.masker: is missing; name one of: block, random"),
        (
            "model.modalities.image.masker.rato=1",
            "model.modalities.image.masker.rato: unknown parameter of 'random'. Did you mean 'ratio'?",
        ),
        (
            "model.modalities.image.positions.scale=1",
            "model.modalities.image.positions.scale: unknown parameter of 'none'. Known: (none).",
        ),
        (
            "model.modalities.image.target.normalize=pach",
            "model.modalities.image.target.normalize: \"pach\" is not allowed. Did you mean 'patch'?",
        ),
        (
            "model.modalities.image.tokenizer.input_size=[9]",
            "model.modalities.image.tokenizer.input_size: [9] is not allowed: must be a list of 2 whole numbers",
        ),
        ("data.image={root: x}", "data.image.name: is missing; name one of: folder"),
        ("data.image={name: folder, root: 3}", "data.image.root: 3 is not allowed: must be text or null"),
        ("schedule={name: cosine, warmup: soon}", 'schedule.warmup: "soon" is not allowed: must be a number or "auto"'),
        ("train.epoch=1", "train.epoch: unknown parameter of 'train'. Did you mean 'epochs'?"),
        ("train=fast", "train: 'fast' is not allowed: must be a mapping"),
    ],
)
def test_messages(load: Load, write: Write, override: str, message: str) -> None:
    lines = problems(load, write("x.yaml", RECIPE + "train: {epochs: 1}\n"), override)
    assert len(lines) == 1
    assert lines[0].startswith(f"command line: {message}")


def test_all_problems_in_one_error_each_with_its_line(load: Load, write: Write) -> None:
    masker = "      masker: {ratio: 2,\n        ovr: 1}\n"
    text = f"model:\n  encoder: {{name: vit}}\n  modalities:\n    image:\n{masker}extra: 1\ntrain: {{}}\n"
    assert [line.split(": ")[:2] for line in problems(load, write("x.yaml", text))] == [
        ["x.yaml:7", "extra"],
        ["x.yaml:2", "model.encoder.width"],
        ["x.yaml:6", "model.modalities.image.masker.ovr"],
        ["x.yaml:5", "model.modalities.image.masker.ratio"],
        ["x.yaml:8", "train.epochs"],
    ]


def test_a_mapping_without_a_required_value(load: Load) -> None:
    assert problems(load, {"model": {"encoder": "vit", "modalities": {"image": {}}}}) == [
        "mapping: model.encoder.width: is required by 'vit' and has no value; must be a whole number greater than 0"
    ]


def test_data_of_a_modality_that_the_model_has_not(load: Load, registry: Registry) -> None:
    registry.add(Component("modalities", "audio", "nowhere:AUDIO", "fake"))
    source = {"model": {"encoder": {"name": "vit", "width": 1}, "modalities": {"image": {}}}, "data": {"audio": "folder"}}
    assert problems(load, source) == ["mapping: data.audio: the model has no modality 'audio'. Known: image."]
    [problem] = problems(load, {**source, "data": {"imge": "folder"}})
    assert problem.startswith("mapping: data.imge: ")
    assert "Did you mean 'image'?" in problem


def test_a_modality_that_is_not_installed_is_told_of_once(load: Load) -> None:
    source = {"model": {"encoder": {"name": "vit", "width": 1}, "modalities": {"sound": {}}}, "data": {"sound": "sounds"}}
    assert problems(load, source) == [
        "mapping: model.modalities.sound: modality 'sound' is not installed; known: image; install it with: mae install sound"
    ]


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_plugin_is_named_where_its_parts_are_missing(load: Load, write: Write) -> None:
    file = write("x.yaml", RECIPE)
    for override in ("model.modalities.video={}", "model.encoder=swin"):
        [line] = problems(load, file, override)
        assert "lugin 'video' is broken: ImportError: no decoder; to fix this, remove it" in line


def test_a_component_that_cannot_be_imported_is_its_plugins_fault(load: Load, write: Write, registry: Registry) -> None:
    registry.add(Component("encoders", "swin", "mae_nowhere:Swin", "swin"))
    with pytest.raises(PluginError, match="encoders 'swin' of plugin 'swin' cannot be loaded"):
        load(write("x.yaml", RECIPE), "model.encoder=swin")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unannotated", "optimizers 'unannotated' of plugin 'fake': the parameter 'momentum' has no annotation"),
        ("unreadable", r"its annotations cannot be read: name 'Tensor' is not defined"),
        ("unserializable", "optimizers 'unserializable' of plugin 'fake': the parameter 'kind' cannot come from a recipe"),
    ],
)
def test_a_component_that_cannot_be_checked_is_its_plugins_fault(load: Load, write: Write, name: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        load(write("x.yaml", RECIPE), f"optimizer={name}")


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def many(
    positional: int,
    *,
    ratio: Annotated[float, Field(ge=0, le=1)],
    step: Annotated[int, Field(multiple_of=8)],
    size: int | Literal["auto"],
    names: Sequence[str],
    sizes: tuple[Annotated[int, Field(gt=0)], ...],
    pair: tuple[int, str],
    anything: list[Any],
    table: dict[str, float] | None,
    path: str | Path | None,
    exact: bool,
    only: Literal["one"],
    even: Annotated[int, AfterValidator(_even)],
) -> None: ...


def test_what_is_allowed_is_said_in_words() -> None:
    assert {name: parameter.allowed for name, parameter in parameters(many, "many").items()} == {
        "ratio": "a number at least 0 and at most 1",
        "step": "a whole number that is a multiple of 8",
        "size": 'a whole number or "auto"',
        "names": "a list of texts",
        "sizes": "a list of items, each a whole number greater than 0",
        "pair": "a list of 2 items: a whole number, text",
        "anything": "a list of items",
        "table": "a mapping or null",
        "path": "text or null",
        "exact": "true or false",
        "only": '"one"',
        "even": "a whole number",
    }


def test_an_annotations_own_validator_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match=r"^3 is not allowed: must be even$"):
        parameters(many, "many")["even"].validate(3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("exact", 1), ("exact", "true"), ("ratio", "0.5"), ("names", "text"), ("names", [1]), ("size", True), ("size", "1")],
)
def test_nothing_is_converted_silently(name: str, value: object) -> None:
    with pytest.raises(ValueError, match="is not allowed: must be"):
        parameters(many, "many")[name].validate(value)
