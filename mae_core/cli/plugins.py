"""`mae plugins`. Imports no torch."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def list_plugins(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Installed plugins: version, whether they load, and what they register."""
    from mae_core.registry import registry

    plugins = registry().plugins
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "name": plugin.name,
                        "distribution": plugin.distribution,
                        "version": plugin.version,
                        "status": plugin.status,
                        "components": [f"{component.kind}:{component.name}" for component in plugin.components],
                        "cause": plugin.cause,
                        "fix": plugin.fix,
                    }
                    for plugin in plugins
                ],
                indent=2,
            )
        )
        return
    table = Table("plugin", "version", "status", "components")
    for plugin in plugins:
        broken = plugin.status == "broken"
        by_kind: dict[str, list[str]] = {}
        for component in plugin.components:
            by_kind.setdefault(component.kind, []).append(component.name)
        components = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in by_kind.items())
        status = "[bold red]broken[/]" if broken else "[green]loaded[/]"
        table.add_row(
            plugin.name, plugin.version, status, escape(f"{plugin.cause}\nfix: {plugin.fix}") if broken else components
        )
    Console().print(table)
