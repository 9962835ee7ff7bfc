import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mae_core.config import Config
from mae_core.config.config import parse_override
from mae_core.config.yaml_tree import plain
from mae_registry import ConfigError

Load = Callable[..., Config]
Write = Callable[[str, str], str]

MODEL = {"encoder": {"name": "vit", "width": 768}, "modalities": {"image": {}}}
RECIPE = """\
model:
  encoder: {name: vit, width: 768}
  modalities:
    image:
      masker: {ratio: 0.6}
data: {image: folder}
optimizer: {name: adamw, betas: [0.8, 0.9]}
schedule: cosine
train: {epochs: 800}
"""


def test_everything_is_resolved(load: Load) -> None:
    assert load({"model": MODEL}).to_dict() == {
        "model": {
            "encoder": {"name": "vit", "width": 768, "depth": 12, "mlp_ratio": 4.0},
            "modalities": {
                "image": {
                    "tokenizer": {"name": "patches", "input_size": [224, 224], "patch_size": [16, 16]},
                    "positions": {"name": "none"},
                    "masker": {"name": "random", "ratio": 0.75, "over": None},
                    "decoder": {"name": "vit", "width": 512, "depth": 8, "mlp_ratio": 4.0},
                    "target": {"name": "pixels", "normalize": "patch"},
                }
            },
        }
    }


def test_keys_dotted_or_not(load: Load) -> None:
    cfg = load({"model": MODEL})
    assert cfg["model"]["encoder"]["width"] == cfg["model.encoder.width"] == cfg["model.encoder"]["width"] == 768
    assert list(cfg) == ["model"]
    assert "model.encoder.width" in cfg
    assert "train" not in cfg
    assert cfg.get("train.seed", 3) == 3
    assert cfg.name == "mapping"


def test_a_missing_key_is_a_readable_error(load: Load) -> None:
    cfg = load({"model": MODEL})
    with pytest.raises(ConfigError) as error:
        cfg["optimizer"]
    assert str(error.value) == "config 'mapping' has no 'optimizer'. Known: model."
    with pytest.raises(ConfigError, match=r"has no 'widht' in 'model\.encoder'\. Did you mean 'width'"):
        cfg.origin("model.encoder.widht")
    with pytest.raises(ConfigError, match=r"has no 'x' in 'model\.encoder\.width'"):
        cfg["model.encoder.width.x"]


def test_values_are_as_components_take_them_and_cannot_be_changed(load: Load) -> None:
    cfg = load({"model": MODEL})
    assert cfg["model.modalities.image.tokenizer.patch_size"] == (16, 16)
    cfg["model"]["encoder"].pop("width")
    assert cfg["model.encoder.width"] == 768


def test_precedence_and_origins(load: Load, write: Write) -> None:
    write("base.yaml", "model:\n  encoder: {name: vit, width: 1, depth: 1}\n  modalities: {image: {decoder: {depth: 1}}}\n")
    file = write("mine.yaml", "extends: base.yaml\nmodel:\n  encoder:\n    width: 2\n    depth: 2\n")
    cfg = load(file, "model.encoder.depth=3")
    found = {
        key: (cfg[key], cfg.origin(key)) for key in ("model.encoder.width", "model.encoder.depth", "model.encoder.mlp_ratio")
    }
    assert found == {
        "model.encoder.width": (2, "mine.yaml:4"),
        "model.encoder.depth": (3, "command line"),
        "model.encoder.mlp_ratio": (4.0, "default of vit"),
    }
    assert cfg.name == "mine"
    assert cfg.origin("model.modalities.image.decoder.depth") == "base.yaml:3"
    assert cfg.origin("model.modalities.image.decoder.width") == "image's default"
    assert cfg.origin("model.modalities.image.target.normalize") == "default of pixels"


@pytest.mark.parametrize(
    ("override", "masker"),
    [
        ("masker.ratio=0.5", {"name": "random", "ratio": 0.5, "over": None}),
        ("masker=random", {"name": "random", "ratio": 0.6, "over": None}),
        ("masker.over=[h]", {"name": "random", "ratio": 0.6, "over": ["h"]}),
        ("masker=block", {"name": "block", "ratio": 0.4, "exact": True}),
        ("masker.name=block", {"name": "block", "ratio": 0.4, "exact": True}),
        ("masker={name: block, exact: false}", {"name": "block", "ratio": 0.4, "exact": False}),
    ],
)
def test_a_new_name_replaces_the_section_whole(load: Load, write: Write, override: str, masker: dict[str, Any]) -> None:
    cfg = load(write("x.yaml", RECIPE), f"model.modalities.image.{override}")
    assert cfg["model.modalities.image.masker"] == masker


def test_a_modalitys_defaults_hold_again_where_its_component_is_named_again(load: Load, write: Write) -> None:
    file = write("x.yaml", RECIPE)
    masker = "model.modalities.image.masker"
    assert load(file, f"{masker}=block", f"{masker}=random")[f"{masker}.ratio"] == 0.75
    modality = "model.modalities.image"
    assert load(file, f"{modality}=null", f"{modality}={{}}")[f"{masker}.ratio"] == 0.75


def test_null_is_a_value_where_the_component_takes_it_and_else_removes(load: Load) -> None:
    masker = {"name": "block", "ratio": 0.9}
    source = {
        "model": {**MODEL, "modalities": {"image": {"masker": masker}}},
        "data": {"image": {"name": "folder", "root": "x"}},
    }
    cfg = load(source, "data.image.root=null", "model.modalities.image.masker.ratio=null", "model.encoder.depth=")
    assert cfg["data.image.root"] is None
    assert cfg.origin("data.image.root") == "command line"
    assert cfg["model.modalities.image.masker.ratio"] == 0.4
    assert cfg.origin("model.modalities.image.masker.ratio") == "default of block"
    assert cfg["model.encoder.depth"] == 12


def test_null_removes_whole_sections(load: Load, write: Write) -> None:
    assert "data" not in load(write("x.yaml", RECIPE), "data=null")
    assert load(write("x.yaml", RECIPE), "data.image=null")["data"] == {}


def test_a_config_is_a_mapping_and_so_a_source(load: Load, write: Write) -> None:
    cfg = load(write("x.yaml", RECIPE))
    assert load(cfg) == cfg
    assert load(cfg, "train.seed=5")["train"] == {"epochs": 800, "seed": 5, "device_batch_size": "auto"}


def test_an_int_will_do_for_a_float_and_a_list_for_a_tuple(load: Load) -> None:
    cfg = load({"model": MODEL, "optimizer": {"name": "adamw", "base_lr": 1, "betas": [0, 0.9]}})
    assert cfg["optimizer.betas"] == (0.0, 0.9)
    assert isinstance(cfg["optimizer.base_lr"], float)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "override 'train.epochs': write key.path=value, e.g. train.epochs=10"),
        ("=3", "override '=3': write key.path=value"),
        ("train..epochs=3", "override 'train..epochs=3': write key.path=value"),
        ("train.epochs=[1", "override 'train.epochs=[1': not valid YAML: "),
        ("train.epochs=!!python/none", "override 'train.epochs=!!python/none': the tag !!python/none is not allowed"),
    ],
)
def test_wrong_overrides(load: Load, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"model": MODEL}, override)
    assert str(error.value).startswith(message)


def test_override_values_follow_the_rules_of_yaml(load: Load) -> None:
    cfg = load({"model": MODEL, "optimizer": "adamw"}, "optimizer.base_lr=1e-4", 'optimizer={"weight_decay": 0}')
    assert (cfg["optimizer.base_lr"], cfg["optimizer.weight_decay"]) == (1e-4, 0.0)


@pytest.mark.parametrize("text", ["my #folder", "#1", "'my #folder'", "a#b"])
def test_nothing_of_an_override_is_lost_as_a_comment(text: str) -> None:
    node = parse_override(f"data.image.root={text}")
    assert plain(node) == {"data": {"image": {"root": text.strip("'")}}}


_path = st.text(st.characters(codec="utf-8"), max_size=8)
_overrides = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries(
            {
                "encoder": st.fixed_dictionaries(
                    {"width": st.integers(1, 2**40), "mlp_ratio": st.floats(allow_nan=False, allow_infinity=False)}
                )
            }
        ),
        "data": st.fixed_dictionaries({"image": st.fixed_dictionaries({"name": st.just("folder"), "root": st.none() | _path})}),
        "optimizer": st.fixed_dictionaries(
            {"name": st.just("adamw"), "betas": st.tuples(st.floats(-1e300, 1e300), st.floats(0, 1))}
        ),
        "train": st.fixed_dictionaries(
            {"epochs": st.integers(1, 2**62), "device_batch_size": st.integers(1, 2**62) | st.just("auto")}
        ),
    },
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_overrides)
def test_to_yaml_loads_as_the_same_config(load: Load, write: Write, given_values: dict[str, Any]) -> None:
    write("base.yaml", RECIPE)
    cfg = load({"extends": "base.yaml", **given_values})
    again = load(write("resolved.yaml", cfg.to_yaml()))
    assert again == cfg
    assert again.to_yaml() == cfg.to_yaml()


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, mae_core.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
