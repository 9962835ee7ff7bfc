"""`mae plugins` and `mae hooks`. They do not import torch."""

import inspect
import json
from collections import defaultdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mae_core.cli.sources import known_plugins
from mae_registry import KINDS, PluginRecord, Registry, hookspecs, installed_plugins

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")]


def list_plugins(
    as_json: AsJson = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also list plugins that MAE_PLUGINS leaves out, and known ones that are not installed."),
    ] = False,
) -> None:
    """List the installed plugins: their versions, whether they load, and what they register."""
    from mae_core.registry import registry

    plugins = [_described(plugin) for plugin in registry().plugins if everything or plugin.status != "excluded"]
    if everything:
        plugins += _not_installed()
    if as_json:
        typer.echo(json.dumps(plugins, indent=2))
        return
    table = Table("plugin", "version", "status", "components")
    for plugin in plugins:
        colour = {"broken": "bold red", "loaded": "green"}.get(plugin["status"], "dim")
        table.add_row(plugin["name"], plugin["version"], f"[{colour}]{plugin['status']}[/]", escape(_cell(plugin)))
    Console().print(table)


def _described(plugin: PluginRecord) -> dict[str, Any]:
    """What `--json` prints. Later versions keep these keys."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "components": [f"{component.kind}:{component.name}" for component in plugin.components],
        "cause": plugin.cause,
        "fix": "add it to MAE_PLUGINS" if plugin.status == "excluded" else plugin.fix,
        "seconds": plugin.seconds,
    }


def _not_installed() -> list[dict[str, Any]]:
    """The known plugins that are not installed. The first short name of a distribution is its plugin's name."""
    first = {distribution: name for name, distribution in reversed(known_plugins().items())}
    missing = {name: distribution for distribution, name in first.items()}
    for plugin in installed_plugins():
        missing = {name: distribution for name, distribution in missing.items() if distribution != plugin.distribution}
    empty = {"version": "", "status": "not installed", "components": [], "cause": ""}
    return [
        {"name": name, "distribution": missing[name], **empty, "fix": f"mae install {name}", "seconds": 0.0}
        for name in known_plugins()
        if name in missing
    ]


def _cell(plugin: dict[str, Any]) -> str:
    if plugin["status"] == "broken":
        return f"{plugin['cause']}\nfix: {plugin['fix']}"
    if plugin["status"] != "loaded":
        return plugin["fix"]
    by_kind = defaultdict(list)
    for component in plugin["components"]:
        kind, _, name = component.partition(":")
        by_kind[kind].append(name)
    return "\n".join(f"{kind}: {', '.join(names)}" for kind, names in by_kind.items())


def hooks(as_json: AsJson = False) -> None:
    """List every hook: what a plugin can add with it, and which plugins implement it."""
    from mae_core.registry import registry

    described = [_hook(kind, registry()) for kind in KINDS]
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    table = Table("hook", "takes", Column("for", overflow="fold"), "plugins")
    for hook in described:
        table.add_row(hook["name"], hook["signature"], escape(hook["for"]), ", ".join(hook["plugins"]))
    Console().print(table)
    typer.echo('register(name, "package.module:Object") adds a component; docs/plugins.md explains how to write a plugin')


def _hook(kind: str, registry: Registry) -> dict[str, Any]:
    function = getattr(hookspecs, f"register_{kind}")
    return {
        "name": function.__name__,
        "for": (inspect.getdoc(function) or "").split("\n")[0].replace("`", ""),
        "signature": f"({', '.join(inspect.signature(function).parameters)})",
        "plugins": sorted({component.plugin for component in registry if component.kind == kind}),
    }
