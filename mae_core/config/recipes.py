"""Recipes by name or path, and what they extend."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_core.config.yaml_tree import MAX_CHARACTERS, Node, Origin, from_python, parse_yaml, plain
from mae_core.registry import registry
from mae_registry import ConfigError

MAX_EXTENDED = 50
"""Recipes that one may extend, in a row or all in all."""


def recipes_folder() -> Path:
    """The shipped recipes: `mae_core/configs` in a wheel, `configs` beside the package in a checkout."""
    package = Path(__file__).parents[1]
    wheel = package / "configs"
    return wheel if wheel.is_dir() else package.parent / "configs"


def list_recipes() -> list[str]:
    """Names of the recipes that ship ("image/mae_vit_base") and of plugins' ("PLUGIN/demo"), sorted."""
    return sorted(_by_name())


def recipe_path(name: str) -> Path:
    """The file of one of `list_recipes`."""
    return _by_name()[name][0]


def _by_name() -> dict[str, tuple[Path, str]]:
    """Each recipe's file, and how to call it in messages. A plugin's are in the folder `recipes` of its package."""
    found = {
        f"{plugin.name}/{path.relative_to(plugin.recipes).with_suffix('').as_posix()}": (path, str(path))
        for plugin in registry().plugins
        if plugin.recipes
        for path in plugin.recipes.rglob("*.yaml")
    }
    folder = recipes_folder()
    shipped = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    return found | {name: (path, f"configs/{name}.yaml") for name, path in shipped.items()}


def read_layers(source: str | Path | Mapping[str, Any]) -> tuple[str, list[Node]]:
    """A recipe's name, and its layers, lowest first: what it extends, then itself. Raises ConfigError."""
    if isinstance(source, Mapping):
        return "mapping", _with_extended(from_python(source, Origin("mapping")), Path(), ())
    name, path, shown = _find(source, Path())
    return name, _read(path, shown, ())


def extended_by(source: str | Path | Mapping[str, Any]) -> list[str | Path]:
    """The recipes that a readable one extends directly, each as `load_config` takes it."""
    if isinstance(source, Mapping):
        extends, folder = source.get("extends") or [], Path()
    else:
        _, path, shown = _find(source, Path())
        extends = plain(parse_yaml(path.read_text(encoding="utf-8-sig"), shown)).get("extends") or []
        folder = path.parent
    known = _by_name()
    return [name if name in known else folder / name for name in ([extends] if isinstance(extends, str) else extends)]


def shipped_recipe(source: str | Path | Mapping[str, Any]) -> str | None:
    """The name of the recipe of `list_recipes` that this one is, or that it extends, at whatever distance; None without one."""
    if isinstance(source, str) and source in _by_name():
        return source
    return next((name for parent in extended_by(source) if (name := shipped_recipe(parent))), None)


def _find(source: str | Path, folder: Path) -> tuple[str, Path, str]:
    """The recipe's name, its file, and how to call that in messages. Names come first; paths are relative to `folder`."""
    known = _by_name()
    if isinstance(source, str) and source in known:
        return source, *known[source]
    path = folder / source
    if path.is_file():
        return path.stem, path, str(path)
    if path.is_dir():
        run = " of a run; its recipe is config.yaml in it" if (path / "config.yaml").is_file() else "; name a YAML file"
        raise ConfigError(f"{str(path)!r} is a folder{run}")
    if isinstance(source, Path):
        raise ConfigError(f"there is no file {str(path)!r}")
    near = difflib.get_close_matches(source, known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no recipe and no file named {source!r}.{hint} `mae recipes` lists the recipes.")


def _read(path: Path, shown: str, chain: tuple[tuple[Path, str], ...]) -> list[Node]:
    """`chain`: the files that led here by `extends`, to notice a circle."""
    link = (path.resolve(), shown)
    if any(link[0] == seen for seen, _ in chain):
        raise ConfigError(f"these recipes extend each other in a circle: {' -> '.join(name for _, name in (*chain, link))}")
    if len(chain) > MAX_EXTENDED:
        raise ConfigError(f"{chain[0][1]}: extends a chain of more than {MAX_EXTENDED} recipes")
    try:
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            raise ConfigError(f"{shown}: is a file of {path.stat().st_size:,} bytes, and so no recipe")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: is not UTF-8 text: {error.reason}") from None
    tree = parse_yaml(text, shown)
    if not isinstance(tree.value, dict):
        found = {type(None): "empty", list: "a list"}.get(type(tree.value), "a single value")
        raise ConfigError(f"{tree.origin}: the file is {found}; a recipe is a mapping of sections, e.g. `model: {{...}}`")
    return _with_extended(tree, path.parent, (*chain, link))


def _with_extended(tree: Node, folder: Path, chain: tuple[tuple[Path, str], ...]) -> list[Node]:
    items = dict(tree.items)
    extends = items.pop("extends", None)
    layers: list[Node] = []
    if extends is not None and extends.value is not None:
        for parent in extends.value if isinstance(extends.value, list) else [extends]:
            if not isinstance(parent.value, str):
                raise ConfigError(
                    f"{parent.origin}: extends: must be a recipe's name, a path relative to the file, or a list of these"
                )
            try:
                _, path, shown = _find(parent.value, folder)
            except ConfigError as error:
                raise ConfigError(f"{parent.origin}: extends: {error}") from None
            layers += _read(path, shown, chain)
            if len(layers) > MAX_EXTENDED:
                raise ConfigError(f"{parent.origin}: extends: leads to more than {MAX_EXTENDED} recipes")
    return [*layers, Node(items, tree.origin)]
