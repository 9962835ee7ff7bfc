"""`mae masks` lists the maskers and shows what they hide."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mae_registry import ConfigError, MaeError, PluginError, resolve

if TYPE_CHECKING:
    from mae_core.pictures.mask_samples import Look
    from mae_core.pictures.mask_subjects import Subject

app = typer.Typer(help="List the maskers, and show what they hide.", invoke_without_command=True)

MAX_DRAWS = 100_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")]


@app.callback()
def list_maskers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the maskers with their parameters, or (`show`) see what one hides."""
    if context.invoked_subcommand is not None:
        return
    maskers = _maskers()
    if as_json:
        typer.echo(json.dumps(maskers, indent=2))
        return
    console = Console(highlight=False)
    for heading, is_operator in (("maskers", False), ("operators over maskers", True)):
        console.print(f"{heading}\n", style="bold", markup=False)
        for masker in maskers:
            if ("operands" in masker) == is_operator:
                _print_masker(console, masker)
    console.print("to see what a masker hides:  mae masks show random ratio=0.75 -o masks.png", markup=False, soft_wrap=True)


def _maskers() -> list[dict[str, Any]]:
    from mae_core.config.operators import OPERATORS
    from mae_core.registry import registry

    found = []
    for component in (registry().get("maskers", name) for name in registry().names("maskers")):
        about = {"name": component.name, "plugin": component.plugin}
        try:
            found.append(about | _signature(component.load(), component.name))
        except PluginError as error:  # one broken masker does not hide the others
            found.append(about | {"error": str(error), "about": f"broken: {error}", "parameters": {}})
    for name, operator in OPERATORS.items():
        about = {"name": name, "plugin": "core", "operands": operator.operand.written}
        found.append(about | _signature(resolve(operator.target), name))
    return found


def _signature(masker: type, name: str) -> dict[str, Any]:
    from mae_core.config.signature import parameters

    known = {
        key: {"allowed": parameter.allowed, "required": parameter.required}
        | ({} if parameter.required else {"default": parameter.default})
        for key, parameter in parameters(masker, f"maskers {name!r}").items()
    }
    return {"about": (masker.__doc__ or "").strip().partition("\n")[0], "parameters": known}


def _print_masker(console: Console, masker: dict[str, Any]) -> None:
    operands = f": {masker['operands']}" if "operands" in masker else ""
    console.print(f"{masker['name']}{operands}  ({masker['plugin']})", style="bold cyan", markup=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=2)
    table.add_column(min_width=10, no_wrap=True)
    table.add_column()
    for key, parameter in masker["parameters"].items():
        default = "must be given" if parameter["required"] else f"default {json.dumps(parameter['default'])}"
        table.add_row("", key, f"{parameter['allowed']}; {default}")
    console.print(f"  {masker['about']}", markup=False)
    console.print(table)
    console.print()


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            help="The name of a masker, a section in braces, or a recipe. RECIPE:NAME chooses one masker of a recipe."
        ),
    ],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values to change, of the masker or of the recipe.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="The grid to mask, such as t=8,h=14,w=14.", show_default="the recipe's, or one that suits the masker"
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a picture (PNG) to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    seed: Annotated[int, typer.Option(help="The seed for sampling the masks.")] = 0,
    progress: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show a schedule at this fraction of the training.", show_default="0, 0.5 and 1"),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=MAX_DRAWS, help="How many masks to sample for counting how often each patch is hidden.")
    ] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show some masks, and how often each position is hidden."""
    from mae_core.files import require_output
    from mae_core.pictures.mask_samples import look, require_no_samples
    from mae_core.pictures.mask_subjects import find_subjects, parse_grid

    if output is not None:
        require_output(output, suffixes=(".png",), overwrite=overwrite)
    subjects = find_subjects(what, changes or [], grid=parse_grid(grid) if grid is not None else None)
    if progress is not None and not any(subject.is_scheduled for subject in subjects):
        raise ConfigError("--progress is for maskers with a `schedule`; this one does not change during training")
    shown, problems = [], []
    for subject in subjects:
        try:
            require_no_samples(subject)
        except MaeError as error:
            problems.append(str(error))
        else:
            shown.append((subject, look(subject, num_draws=draws, seed=seed, progress=progress)))
    if output is not None and shown:
        from mae_core.pictures.mask_pictures import write_picture

        write_picture(shown, output, seed=seed)
    if as_json:
        typer.echo(json.dumps([_as_json(subject, looks, draws, seed) for subject, looks in shown], indent=2))
    else:
        for subject, looks in shown:
            _print_looks(subject, looks, seed)
        if output is not None and shown:
            typer.echo(output)
    if problems:
        raise MaeError("\n".join(problems))


def _print_looks(subject: "Subject", looks: "Sequence[Look]", seed: int) -> None:
    from mae_core.cli.mask_blocks import legend, picture
    from mae_core.pictures.mask_samples import describe, heading, note_on, source
    from mae_core.pictures.mask_subjects import one_line

    console = Console(highlight=False, markup=False, soft_wrap=True)
    written = one_line(subject.section)
    console.print(subject.title if written == subject.title else f"{subject.title}: {written}", style="bold")
    console.print(source(subject, looks, seed))
    for each in looks:
        for index, drawn in enumerate(each.sets):
            console.print(f"\n{heading(each, index)}{describe(drawn)}")
            if note := note_on(subject, drawn):
                console.print(note)
            for line in picture(drawn, subject.grid, width=console.width):
                console.print(line)
    console.print(f"\n{legend([drawn for each in looks for drawn in each.sets])}\n")


def _as_json(subject: "Subject", looks: "Sequence[Look]", num_draws: int, seed: int) -> dict[str, Any]:
    grid = dict(zip(subject.grid.axes, subject.grid.sizes, strict=True))
    return {
        "name": subject.title,
        "masker": subject.section,
        "grid": grid,
        "grid_from": subject.grid_from,
        "num_patches": subject.grid.num_patches,
        "draws": num_draws,
        "seed": seed,
        "looks": [{"progress": each.progress, "sets": [drawn.facts for drawn in each.sets]} for each in looks],
    }
