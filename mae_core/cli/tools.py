"""`mae convert` and `mae statistics`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from mae_core.cli.training import Overrides, Recipe
from mae_registry import MaeError

if TYPE_CHECKING:
    from torch import Tensor

    from mae_core.config import Config
    from mae_core.interfaces import Dataset


class WithLayouts(TyperCommand):
    """A command whose help ends with the layouts that plugins have."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it. The registry is only asked for the names, so that no layout is imported."""
        from mae_core.registry import registry

        self.epilog = f"Layouts: {', '.join(registry().names('layouts'))}."
        super().format_help(ctx, formatter)


def convert(
    source: Annotated[
        Path,
        typer.Argument(help="A run, a checkpoint, an encoder.safetensors, or published weights: a file, or a folder of them."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="What published weights do not show, such as model.encoder.heads=4."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="What to write: .pt or .safetensors; with --to, .safetensors, .pth, or a folder."),
    ] = ...,  # pyright: ignore[reportArgumentType] - typer's way to say that it is required
    to_layout: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="The layout to write, such as timm or mae.",
            show_default="this project's own",
        ),
    ] = None,
    from_layout: Annotated[
        str | None, typer.Option("--from", help="The layout of published weights.", show_default="recognised")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="The recipe of the model of published weights.", show_default="recognised")
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Take the averaged weights (EMA) that a file has beside the plain ones.")
    ] = False,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Resize the positions for samples of another size, which KEY=VALUE names.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Convert weights: published ones to this project's, these to published ones, or published ones to others."""
    from mae_core.runs.convert import convert as run
    from mae_core.runs.published import Origin

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    origin = Origin(from_layout, recipe, overrides or (), averaged, say=console.print)
    for path in run(source, output, to=to_layout, origin=origin, interpolate=interpolate, overwrite=overwrite):
        typer.echo(path)


def statistics(
    recipe: Recipe,
    overrides: Overrides = None,
    pca: Annotated[
        Path | None,
        typer.Option(help="Write the principal components of the patches to this file instead, for the target pca."),
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Read this many samples, spread evenly over the data, instead of all.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --pca if it exists.")] = False,
) -> None:
    """Measure what the tokenizers need to know about the data, such as the mean, and print it as KEY=VALUE and as YAML."""
    from mae_core.build import modality, modality_of
    from mae_core.config import load_config
    from mae_core.files import require_output
    from mae_core.training.sources import build_datasets
    from mae_registry import resolve

    if pca is not None:
        require_output(pca, suffixes=(".safetensors",), overwrite=overwrite)
    config = load_config(recipe, overrides or [])
    datasets = build_datasets(config)
    if pca is not None:
        _write_basis(pca, config, datasets, num_samples)
        return
    measures = {name: measure for name in datasets if (measure := modality(modality_of(config, name)).measure)}
    if not measures:
        raise MaeError(
            f"{', '.join(datasets)} has no statistics to measure; the constants of its tokenizer are part of the recipe"
        )
    for name, measure in measures.items():
        measured = resolve(measure)(_read(datasets[name], num_samples))
        _print_section(name, "tokenizer", {key: _short(value) for key, value in measured.items()})


def _short(value: "float | list[float]") -> str:
    """A number, or a list of them, as YAML."""
    return f"[{','.join(map(_short, value))}]" if isinstance(value, list) else f"{value:.7g}"


def _print_section(entry: str, part: str, values: Mapping[str, str]) -> None:
    """Print for other programs, on standard output, what a command line takes; and for people, what a recipe does."""
    for key, value in values.items():
        typer.echo(f"model.modalities.{entry}.{part}.{key}={value}")
    section = ", ".join(f"{key}: {value}" for key, value in values.items())
    typer.echo(f"in a recipe:\nmodel:\n  modalities:\n    {entry}:\n      {part}: {{{section}}}", err=True)


def _write_basis(path: Path, config: "Config", datasets: "Mapping[str, Dataset]", num_samples: int | None) -> None:
    """The principal components of the patches of the only modality. Says how many of them hold most of the variance."""
    from mae_core.build import build_tokenizer
    from mae_core.parts.principal_components import VARIANCES, measure_basis
    from mae_core.parts.tensor_files import write_tensors

    if len(datasets) > 1:
        raise MaeError(f"--pca measures one modality, and this recipe has {', '.join(datasets)}: take a recipe of one of them")
    ((name, dataset),) = datasets.items()
    tokenizer = build_tokenizer(name, config)
    samples = _read(dataset, num_samples)
    basis = measure_basis(tokenizer.patchify(tokenizer.normalize(sample.unsqueeze(0))) for sample in samples)
    write_tensors(path, basis)
    shares = basis[VARIANCES].cumsum(0) / basis[VARIANCES].sum()
    for share in (0.9, 0.99, 0.999):
        typer.echo(f"{int((shares < share).sum()) + 1} components hold {share:.1%} of the variance", err=True)
    _print_section(name, "target", {"file": str(path)})


def _read(dataset: "Dataset", num_samples: int | None) -> "Iterator[Tensor]":
    """The samples that can be read. Progress and unreadable samples are reported on standard error."""
    from rich.progress import track

    from mae_core.data.folders import spread
    from mae_core.interfaces import BadSample, as_sample

    console = Console(stderr=True)
    indices = range(len(dataset)) if num_samples is None else spread(num_samples, len(dataset))
    for index in track(indices, description="reading", console=console):
        try:
            sample = as_sample(dataset.read(index))
        except BadSample as error:
            console.print(f"skipped: {error}", markup=False, soft_wrap=True)
        else:
            yield sample.x
