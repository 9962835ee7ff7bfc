"""`mae new-plugin`. It does not import torch."""

import importlib.util
import re
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from mae_registry import MaeError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_.][A-Za-z0-9]+)*", re.ASCII)
REGISTERED = {
    "masker": (("maskers", "{}"),),
    "target": (("targets", "{}"),),
    "modality": (
        ("modalities", "{}"),
        ("tokenizers", "{}_patches"),
        ("datasets", "{}_folder"),
        ("datasets", "{}_waves"),
    ),
}
"""The components that each template registers, by kind and name."""


def new_plugin(
    name: Annotated[
        str, typer.Argument(help="The name of the plugin. The name time-series gives the distribution mae-time-series.")
    ],
    modality: Annotated[
        bool, typer.Option("--modality", help="Write a modality, for series of numbers. This is the default.")
    ] = False,
    masker: Annotated[bool, typer.Option("--masker", help="Write a masker.")] = False,
    target: Annotated[
        bool, typer.Option("--target", help="Write a target, which defines what is predicted and the loss.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The folder to create.", show_default="NAME")] = None,
) -> None:
    """Write a plugin to start from: a package with tests and a recipe, all of which work as they are."""
    chosen = [kind for kind, is_chosen in (("modality", modality), ("masker", masker), ("target", target)) if is_chosen]
    if len(chosen) > 1:
        raise typer.BadParameter(
            f"--{' and --'.join(chosen)} cannot be used together; you can add the other to the plugin later"
        )
    kind = chosen[0] if chosen else "modality"
    values = _names(name)
    _require_free(values, kind)
    folder = out or Path(name)
    if folder.exists():
        raise MaeError(f"{folder.absolute()} already exists; choose another folder with --out")
    _write(files("mae_core") / "templates" / kind, folder, values)
    commands = [
        ["cd", str(folder)],
        ["mae", "install", "."],
        ["python", "-m", "pytest"],
        ["mae", "pretrain", f"{values['name']}/demo"],
    ]
    typer.echo(f"wrote the plugin {values['name']}, with a {kind}, to {folder}/\n\nwhat to do next:")
    typer.echo("\n".join(f"  {shlex.join(command)}" for command in commands))


def _names(name: str) -> dict[str, str]:
    """The values of a template's placeholders. Raises MaeError for a name that a distribution or a recipe cannot have."""
    from mae_core.config.yaml_tree import parse_yaml
    from mae_core.version import __version__

    words = [word.lower() for word in re.split(r"[-_.]", name)]
    if len(words) > 1 and words[0] == "mae":
        del words[0]  # the name of the distribution was given
    plugin = "_".join(words)
    if not NAME.fullmatch(name) or not words[0][0].isalpha():
        raise MaeError(
            f"{name!r} cannot be a plugin's name: it must begin with a letter and consist of ASCII letters and digits, with "
            "single hyphens, underscores or dots between them, e.g. time-series"
        )
    if parse_yaml(plugin, "name").value != plugin:
        raise MaeError(f"{name!r} cannot be a plugin's name: in a recipe, YAML would not read {plugin!r} as text")
    return {
        "name": plugin,
        "package": f"mae_{plugin}",
        "distribution": f"mae-{'-'.join(words)}",
        "title": "".join(word.capitalize() for word in words),
        "mae_version": __version__,
    }


def _require_free(values: dict[str, str], kind: str) -> None:
    """Raise MaeError if an installed plugin has this name, or registers one of the template's, or the package exists."""
    from mae_core.registry import registry

    installed = registry()
    name = values["name"]
    for plugin in installed.plugins:
        if plugin.name == name:
            raise MaeError(
                f"a plugin {name!r} is already installed, from {plugin.distribution} {plugin.version}; choose another name"
            )
    for component in installed:
        if any(component.kind == of_kind and component.name == form.format(name) for of_kind, form in REGISTERED[kind]):
            raise MaeError(
                f"{component.kind} {component.name!r} is already registered by plugin {component.plugin!r}; choose another name"
            )
    if importlib.util.find_spec(values["package"]) is not None:
        raise MaeError(f"a package named {values['package']} is already installed; choose another name")


def _write(template: Traversable, folder: Path, values: dict[str, str]) -> None:
    """Write every file of a template with its placeholders filled in. In paths, "package" stands for the package's name."""
    folder.mkdir(parents=True)
    for entry in template.iterdir():
        path = folder / entry.name.removesuffix(".template").replace("package", values["package"])
        if entry.is_dir():
            _write(entry, path, values)
        else:
            path.write_text(Template(entry.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")
