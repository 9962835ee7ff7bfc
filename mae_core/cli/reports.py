"""`mae report`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mae_core.runs.comparison import Group


def report(
    runs: Annotated[list[Path], typer.Argument(help="The folder of a run or of an evaluation, or several to compare.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the comparison of several runs.")] = Path(
        "comparison.html"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, for other programs.")] = False,
) -> None:
    """Write the report.html of a run again, or compare several runs in a table and a plot."""
    from mae_core.runs.comparison import compare
    from mae_core.runs.comparison_page import write_comparison
    from mae_core.runs.report import write_report

    runs = list(dict.fromkeys(runs))
    groups = compare(runs) if as_json or len(runs) > 1 else []
    page = write_report(runs[0]) if len(runs) == 1 else write_comparison(groups, output)
    if as_json:
        typer.echo(json.dumps({"page": str(page), "groups": [group.to_json() for group in groups]}, indent=2))
        return
    if groups:
        _print(groups)
    typer.echo(page)


def _print(groups: "list[Group]") -> None:
    from rich.console import Console
    from rich.table import Table

    from mae_core.runs.comparison_page import table

    names, rows = table(groups)
    shown = Table(box=None, pad_edge=False)
    for name in names:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console(highlight=False, markup=False).print(shown)
