"""`mae report`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mae_core.runs.comparison import Group

TEXTS = ("run", "what", "recipe", "differs in")
"""Columns that may be broken into several lines."""
MIN_TEXT = 16
"""Characters of a line of such a column."""
SPARED = ("recipe", "last loss", "time", "what")
"""Columns that are left out where the terminal is too narrow, after all but the metrics that count. The page has them all."""


def report(
    runs: Annotated[list[Path], typer.Argument(help="The folder of a run or of an evaluation, or several to compare.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the comparison of several runs.")] = Path(
        "comparison.html"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the comparison if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, for other programs.")] = False,
) -> None:
    """Write the report.html of a run again, or compare several runs in a table and a plot."""
    from mae_core.files import require_output
    from mae_core.runs.comparison import compare
    from mae_core.runs.comparison_page import write_comparison
    from mae_core.runs.report import write_report

    runs = list(dict.fromkeys(runs))
    groups = compare(runs) if as_json or len(runs) > 1 else []
    if len(runs) > 1:
        require_output(output, suffixes=(".html",), overwrite=overwrite)
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

    console = Console(highlight=False, markup=False)
    names, rows = table(groups)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    further = [name for name in columns if name.startswith("accuracy, ")]  # such as those of k-NN with other k
    for spared in (*further, *SPARED):
        if sum(_least_width(name, cells) + 2 for name, cells in columns.items()) > console.width:
            columns.pop(spared, None)
    shown = Table(box=None, pad_edge=False)
    for name, cells in columns.items():
        shown.add_column(name, overflow="fold", no_wrap=name not in TEXTS, min_width=_least_width(name, cells))
    for row in zip(*columns.values(), strict=True):
        shown.add_row(*row)
    console.print(shown)


def _least_width(name: str, cells: "Sequence[str]") -> int:
    widest = max(map(len, (name, *cells)))
    return min(widest, MIN_TEXT) if name in TEXTS else widest
