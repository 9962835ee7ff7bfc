"""`mae config show|check|schema`."""

import json
from typing import TYPE_CHECKING, Any

import typer

from mae_core.cli.training import Overrides, Recipe

if TYPE_CHECKING:
    from mae_core.config import Config

app = typer.Typer(help="Look at recipes and check them.", no_args_is_help=True)


@app.command()
def show(recipe: Recipe, overrides: Overrides = None) -> None:
    """Print the resolved recipe with every default, and where each value comes from."""
    from mae_core.config import load_config

    config = load_config(recipe, overrides or [])
    lines = list(_lines(config, config.to_dict(), ""))
    width = min(72, max(len(line) for line, _ in lines))
    for line, origin in lines:
        typer.echo(f"{line:<{width}}  # {origin}" if origin else line)


def _lines(config: "Config", section: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    indent = "  " * prefix.count(".")
    lines = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            lines += [(f"{indent}{key}:", ""), *_lines(config, value, f"{prefix}{key}.")]
        else:
            lines.append((f"{indent}{key}: {json.dumps(value)}", config.origin(prefix + key)))
    return lines


@app.command()
def check(recipe: Recipe, overrides: Overrides = None) -> None:
    """Check a recipe without reading its data: its keys, its values, and whether its parts fit together."""
    from mae_core.config import load_config
    from mae_core.model.backbone import Backbone
    from mae_core.runs.outputs import count_parameters
    from mae_core.training.preflight import check_recipe

    config = load_config(recipe, overrides or [])
    model = check_recipe(config)
    backbone = model.get_submodule("backbone")
    assert isinstance(backbone, Backbone)
    grids = ", ".join(f"{entry} on the grid {backbone.input(entry).tokenizer.grid}" for entry in backbone.inputs)
    typer.echo(f"{config.name} is fine: {count_parameters(model):,} trainable parameters; {grids}")


@app.command()
def schema() -> None:
    """Print a JSON Schema of recipes, so that editors can complete and check names and values."""
    from mae_core.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
