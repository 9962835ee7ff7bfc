"""`mae verify`, `mae convert`, `mae statistics` and `mae report`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mae_core.cli.training import Overrides, Recipe
from mae_registry import MaeError

if TYPE_CHECKING:
    from torch import Tensor

    from mae_core.interfaces import Dataset


def verify(
    modalities: Annotated[list[str] | None, typer.Argument(help="Modalities.", show_default="all installed")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare this installation with the numbers of the published implementations. Exits with 1 on a mismatch."""
    from mae_core.build import modality as find_modality
    from mae_core.registry import registry
    from mae_registry import resolve

    names = modalities or registry().names("modalities")
    certificates = {find_modality(name).certify: name for name in reversed(names)}  # modalities may share one
    checks = [(name, check) for certify, name in reversed(certificates.items()) for check in resolve(certify)()]
    if as_json:
        keys = ("name", "measured", "tolerance", "detail", "passed")
        typer.echo(json.dumps([{"modality": name, **{key: getattr(c, key) for key in keys}} for name, c in checks], indent=2))
    else:
        table = Table(title="Compared with the published implementation")
        for heading in ("", "check", "error", "allowed", ""):
            table.add_column(heading, justify="right" if heading in ("error", "allowed") else "left")
        for name, check in checks:
            verdict = "[green]agrees[/]" if check.passed else "[bold red]DIFFERS[/]"
            table.add_row(
                verdict, f"{name}: {check.name}", f"{check.measured:.2g}", f"{check.tolerance:g}", escape(check.detail)
            )
        Console().print(table)
    if not all(check.passed for _, check in checks):
        raise MaeError("this installation does not reproduce the published numbers; see the lines that differ")


def convert(
    source: Annotated[Path, typer.Argument(help="A run's folder, a checkpoint, or published weights (.pth, .safetensors).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write: .safetensors or .pth; .pt for --from.")],
    to_layout: Annotated[str | None, typer.Option("--to", help="Write in this published layout, e.g. mae or timm.")] = None,
    from_layout: Annotated[str | None, typer.Option("--from", help="Read published weights of this layout.")] = None,
    recipe: Annotated[str | None, typer.Option(help="With --from: the recipe of the model that the weights are for.")] = None,
) -> None:
    """Published weights -> a checkpoint (--from, with --recipe), or a checkpoint -> a published layout (--to)."""
    from mae_core.runs.convert import export_file, import_file

    if (to_layout is None) == (from_layout is None):
        raise typer.BadParameter("give one of --to LAYOUT and --from LAYOUT")
    if to_layout is not None:
        export_file(source, output, layout=to_layout)
    elif recipe is None:
        raise typer.BadParameter("--from needs --recipe, the model that the weights are for")
    else:
        assert from_layout is not None
        import_file(source, output, layout=from_layout, recipe=recipe)
    typer.echo(output)


def statistics(recipe: Recipe, overrides: Overrides = None) -> None:
    """Measure what a tokenizer has to know of the recipe's data, such as their mean, and print it as KEY=VALUE."""
    from mae_core.build import modality as find_modality
    from mae_core.config import load_config
    from mae_core.training.sources import build_datasets
    from mae_registry import resolve

    datasets = build_datasets(load_config(recipe, overrides or []))
    measures = {name: measure for name in datasets if (measure := find_modality(name).measure)}
    if not measures:
        raise MaeError(f"{', '.join(datasets)} has no statistics to measure: its tokenizer's constants are part of the recipe")
    for name, measure in measures.items():
        for key, value in resolve(measure)(_read_all(datasets[name])).items():
            shown = f"[{','.join(f'{item:.7g}' for item in value)}]" if isinstance(value, list) else f"{value:.7g}"
            typer.echo(f"model.modalities.{name}.tokenizer.{key}={shown}")


def _read_all(dataset: "Dataset") -> "Iterator[Tensor]":
    """Every sample that can be read, with the progress, and those that cannot, on standard error."""
    from rich.progress import track

    from mae_core.interfaces import BadSample

    console = Console(stderr=True)
    for index in track(range(len(dataset)), description="reading", console=console):
        try:
            sample = dataset.read(index)
        except BadSample as error:
            console.print(f"left out: {error}", markup=False, soft_wrap=True)
        else:
            yield sample


def report(run: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """Write a run's report.html again."""
    from mae_core.runs.report import write_report

    typer.echo(write_report(run))
