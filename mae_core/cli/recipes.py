"""`mae recipes`. It does not import torch."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mae_core.cli.plugins import AsJson
from mae_registry import MaeError


def recipes(
    words: Annotated[
        list[str] | None, typer.Argument(help="List only recipes whose name or description contains all of these words.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes that can be used by name, those of plugins included."""
    from mae_core.config import list_recipes
    from mae_core.config.headers import read_header
    from mae_core.config.recipes import recipe_path

    wanted = [word.lower() for word in words or []]
    headers = {name: read_header(recipe_path(name)) for name in list_recipes()}
    found = {
        name: header for name, header in headers.items() if all(word in f"{name} {header.about}".lower() for word in wanted)
    }
    if as_json:
        typer.echo(json.dumps([{"name": name, **asdict(header)} for name, header in found.items()], indent=2))
        return
    if not found:
        raise MaeError(f"no recipe is about {' '.join(wanted)}; `mae recipes` lists all {len(headers)}")
    table = Table("recipe", Column("what it is", overflow="fold"))
    for name, header in found.items():
        table.add_row(name, escape(header.about))
    Console().print(table)
    typer.echo("mae config show RECIPE prints one in full; mae pretrain RECIPE trains it")
