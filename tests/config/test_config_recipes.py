from collections.abc import Callable
from pathlib import Path

import pytest

from mae_core.config import list_recipes, load_config, recipes
from mae_core.config.recipes import read_layers
from mae_core.config.yaml_tree import plain
from mae_registry import ConfigError, PluginRecord, Registry

Write = Callable[[str, str], str]


@pytest.fixture
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of recipes in place of the shipped ones: image/base and image/large."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "image").mkdir()
    (folder / "image/base.yaml").write_text("a: base\nb: base\n")
    (folder / "image/large.yaml").write_text("extends: image/base\na: large\n")
    monkeypatch.setattr(recipes, "recipes_folder", lambda: folder)
    return folder


def test_recipes_have_names_and_their_origins_say_configs(shipped: Path) -> None:
    assert [name for name in list_recipes() if name.startswith("image/")] == ["image/base", "image/large"]
    name, layers = read_layers("image/large")
    assert name == "image/large"
    assert [plain(layer) for layer in layers] == [{"a": "base", "b": "base"}, {"a": "large"}]
    assert str(layers[0].items["b"].origin) == "configs/image/base.yaml:2"
    assert str(layers[1].items["a"].origin) == "configs/image/large.yaml:2"


def test_a_plugins_recipes_have_its_name(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.yaml").write_text("extends: image/base\na: large\n")
    (tmp_path / "small.yaml").write_text("extends: large.yaml\na: small\n")
    installed = Registry()
    installed.plugins.append(PluginRecord("waves", "mae-waves", "1.0", "loaded", recipes=tmp_path))
    installed.plugins.append(PluginRecord("image", "mae-image", "1.0", "loaded", recipes=tmp_path))  # large ships already
    monkeypatch.setattr(recipes, "registry", lambda: installed)
    assert list_recipes() == ["image/base", "image/large", "image/small", "waves/large", "waves/small"]
    name, layers = read_layers("waves/small")
    assert name == "waves/small"
    assert [plain(layer) for layer in layers] == [{"a": "base", "b": "base"}, {"a": "large"}, {"a": "small"}]
    assert str(layers[2].items["a"].origin) == f"{tmp_path / 'small.yaml'}:2"
    assert str(read_layers("image/large")[1][1].items["a"].origin) == "configs/image/large.yaml:2"
    with pytest.raises(ConfigError, match=r"there is no recipe and no file named 'waves/smal'\. Did you mean 'waves/small'\?"):
        read_layers("waves/smal")


@pytest.mark.parametrize("as_path", [True, False])
def test_a_file_is_named_by_its_stem(write: Write, as_path: bool) -> None:
    file = write("sub/mine.yaml", "a: 1\n")
    name, [layer] = read_layers(Path(file) if as_path else file)
    assert name == "mine"
    assert str(layer.items["a"].origin) == "sub/mine.yaml:1"


def test_extends_takes_names_and_paths_relative_to_the_file(write: Write, shipped: Path) -> None:
    write("lib/one.yaml", "a: one\n")
    write("lib/two.yaml", "extends: one.yaml\na: two\n")
    file = write("mine.yaml", "extends: [image/large, lib/two.yaml]\na: mine\n")
    assert [layer.items["a"].value for layer in read_layers(file)[1]] == ["base", "large", "one", "two", "mine"]


def test_a_mapping_extends_too(shipped: Path) -> None:
    name, layers = read_layers({"extends": "image/base", "a": 1})
    assert name == "mapping"
    assert [plain(layer) for layer in layers] == [{"a": "base", "b": "base"}, {"a": 1}]


def test_extends_null_extends_nothing() -> None:
    assert [plain(layer) for layer in read_layers({"extends": None, "a": 1})[1]] == [{"a": 1}]


def test_the_same_file_twice_is_no_circle(write: Write) -> None:
    write("base.yaml", "a: 1\n")
    write("left.yaml", "extends: base.yaml\n")
    assert len(read_layers({"extends": ["left.yaml", "base.yaml"]})[1]) == 4


def test_a_circle_names_the_chain(write: Write) -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "extends: sub/c.yaml\n")
    write("sub/c.yaml", "extends: ../a.yaml\n")
    with pytest.raises(ConfigError, match=r"in a circle: a\.yaml -> b\.yaml -> sub/c\.yaml -> sub/\.\./a\.yaml$"):
        read_layers("a.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: the file is empty; a recipe is a mapping of sections, e.g. `model: {...}`"),
        ("# only this\n", "x.yaml: the file is empty"),
        ("\n- 1\n", "x.yaml:2: the file is a list; a recipe is a mapping"),
        ("model\n", "x.yaml:1: the file is a single value; a recipe is a mapping"),
        ("a: 1\nextends: 3\n", "x.yaml:2: extends: must be a recipe's name, a path relative to the file, or a list of these"),
        ("extends: [image/base,\n  {a: 1}]\n", "x.yaml:2: extends: must be"),
        (
            "extends: image/bas\n",
            "x.yaml:1: extends: there is no recipe and no file named 'image/bas'. Did you mean 'image/base'?",
        ),
    ],
)
def test_wrong_files(write: Write, shipped: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_layers(write("x.yaml", text))
    assert str(error.value).startswith(message)


def test_unreadable_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 text"):
        read_layers("latin.yaml")
    for folder in (".", tmp_path):
        with pytest.raises(ConfigError, match="is a folder; name a YAML file"):
            read_layers(folder)
    with pytest.raises(ConfigError, match=r"^there is no file 'missing.yaml'$"):
        read_layers(Path("missing.yaml"))
    with pytest.raises(ConfigError, match=r"there is no recipe and no file named 'missing\.yaml'\. `mae recipes` lists"):
        read_layers("missing.yaml")


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert plain(read_layers(tmp_path / "x.yaml")[1][0]) == {"a": 1}


def test_recipes_are_found_in_a_wheel_and_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "site/mae_core/config/recipes.py"))
    assert recipes.recipes_folder() == tmp_path / "site/configs"
    (tmp_path / "site/mae_core/configs").mkdir(parents=True)
    assert recipes.recipes_folder() == tmp_path / "site/mae_core/configs"


@pytest.mark.parametrize(
    ("name", "width", "depth", "heads", "patch"),
    [("base", 768, 12, 12, 16), ("large", 1024, 24, 16, 16), ("huge", 1280, 32, 16, 14)],
)
def test_the_published_recipes(name: str, width: int, depth: int, heads: int, patch: int) -> None:
    cfg = load_config(f"image/mae_vit_{name}")
    assert [cfg[f"model.encoder.{key}"] for key in ("width", "depth", "heads")] == [width, depth, heads]
    parts = cfg["model.modalities.image"]
    assert parts["tokenizer"]["patch_size"] == (patch, patch)
    assert parts["masker"]["ratio"] == 0.75
    assert [parts["decoder"][key] for key in ("width", "depth", "heads")] == [512, 8, 16]
    assert parts["target"]["normalize"] == "patch"
    optimizer = cfg["optimizer"]
    assert [optimizer[key] for key in ("base_lr", "base_batch", "betas", "weight_decay")] == [1.5e-4, 256, (0.9, 0.95), 0.05]
    assert cfg["schedule.warmup_epochs"] == 40
    assert (cfg["train.epochs"], cfg["train.batch_size"]) == (800, 4096)
    assert cfg["data.image.root"] is None


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_loads_and_its_header_says_what_it_is_for(name: str) -> None:
    assert load_config(name).name == name
    header = recipes.recipe_path(name).read_text().splitlines()[:10]
    for word in ("command", "cost", "result"):
        assert any(line.startswith(f"# {word}:") for line in header), word
