"""`mae reconstruct`."""

import functools
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from mae_registry import ConfigError, MaeError

if TYPE_CHECKING:
    from mae_core.config import Config
    from mae_core.interfaces import Modality, Preview, Reconstruction
    from mae_core.model.autoencoder import MaskedAutoencoder


def reconstruct(
    checkpoint: Annotated[
        Path, typer.Argument(help="The folder of a run, a checkpoint file, or published weights with a decoder.")
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, or folders of files. Without any, examples from the training data are used."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The picture to write (PNG).", show_default="reconstruction.png, with a number if it exists"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    mask_ratio: Annotated[
        list[float] | None,
        typer.Option(help="Use this mask ratio instead of the recipe's. Repeat the option for more rows.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed for sampling the masks.")] = 0,
    modality: Annotated[
        str | None,
        typer.Option(
            help="The modality to reconstruct, if the model has several.", show_default="the one that reads the inputs"
        ),
    ] = None,
) -> None:
    """Hide part of each input, let the model fill it in, and write a picture of both."""
    from mae_core.build import build_masker
    from mae_core.build import modality as find_modality
    from mae_core.files import require_output
    from mae_core.pictures.reconstruction import reconstruct as run
    from mae_core.runs.checkpoint import load_model

    output = output or _free_name()
    require_output(output, suffixes=(".png",), inputs=[checkpoint, *(inputs or [])], overwrite=overwrite)
    model, config, _ = load_model(checkpoint, say=functools.partial(typer.echo, err=True))
    name = modality or _modality_of(inputs or [], model)
    previews = _read(inputs, model, name) if inputs else _examples(config, name)
    rows = []
    for ratio in mask_ratio or [None]:
        masker = None if ratio is None else build_masker(_with_ratio(config, name, ratio), name, model.backbone)
        rows += run(model, name, previews, seed=seed, masker=masker)
    written = _write(find_modality(model.backbone.types[name]), rows, output, overwrite=overwrite)
    typer.echo(f"{output}: {len(rows)} row{'s' if len(rows) > 1 else ''}")
    for path in written:
        if path != output:
            typer.echo(path)


def _free_name() -> Path:
    """The first name of its kind that no file has."""
    numbered = (Path(f"reconstruction-{number}.png") for number in itertools.count(2))
    return next(path for path in itertools.chain([Path("reconstruction.png")], numbered) if not path.exists())


def _write(modality: "Modality", rows: "Sequence[Reconstruction]", output: Path, *, overwrite: bool) -> list[Path]:
    """Write the picture and the files that the modality adds to it. Raises MaeError if one of them exists, and writes none."""
    from mae_core.files import write_atomically
    from mae_registry import resolve

    with tempfile.TemporaryDirectory() as folder:
        written: Sequence[Path] = resolve(modality.picture)(rows, Path(folder) / output.name)
        targets = {path: output.with_name(path.name) for path in written}
        for target in targets.values():
            if target.exists() and not overwrite:
                raise MaeError(f"{target}, which belongs to the picture, exists; replace it with --overwrite")
        for path, target in targets.items():
            write_atomically(target, functools.partial(_copy, path))
    return list(targets.values())


def _copy(path: Path, file: IO[bytes]) -> None:
    file.write(path.read_bytes())


def _with_ratio(config: "Config", modality: str, ratio: float) -> "Config":
    """The configuration with another mask ratio. Raises MaeError for a masker that has none."""
    from mae_core.config import load_config
    from mae_core.pictures.mask_subjects import one_line

    path = f"model.modalities.{modality}.masker"
    masker = config.to_dict()["model"]["modalities"][modality]["masker"]
    if "ratio" not in masker:
        raise MaeError(f"--mask-ratio: this model's masker, {one_line(masker)}, has no `ratio` to change")
    exact = [f"{path}.ragged=false"] if masker.get("ragged") else []  # with a ratio, the counts of `any` and `all` are equal
    return load_config(config.to_dict(), [f"{path}.ratio={ratio}", *exact])


def _modality_of(inputs: Sequence[Path], model: "MaskedAutoencoder") -> str:
    """The model's only modality, or the one that reads files like these."""
    from mae_core.build import modality as find_modality

    names = list(model.modalities)
    suffixes = {path.suffix.lower() for path in inputs if not path.is_dir()}
    fitting = [name for name in names if suffixes and suffixes <= set(find_modality(model.backbone.types[name]).file_suffixes)]
    if len(names) > 1 and len(fitting) != 1:
        raise MaeError(f"this model has the modalities {', '.join(names)}; choose one with --modality")
    return names[0] if len(names) == 1 else fitting[0]


def _read(inputs: Sequence[Path], model: "MaskedAutoencoder", name: str) -> "list[Preview]":
    """Each file as the modality reads it. A folder stands for the files in it that can be read; the others are reported."""
    from mae_core.build import modality as find_modality
    from mae_core.interfaces import BadSample, Preview, as_sample
    from mae_registry import resolve

    modality = find_modality(model.backbone.types[name])
    read, tokenizer = resolve(modality.read), model.parts(name).tokenizer
    previews: list[Preview] = []
    for path, in_folder in _files(inputs, modality.file_suffixes):
        try:
            sample = as_sample(read(path, tokenizer))
        except BadSample as error:
            if not in_folder:
                raise
            typer.echo(f"left out: {error}", err=True)
        else:
            previews.append(Preview(path.name, sample.x, extras=sample.extras))
    if not previews:
        raise MaeError("none of the files can be read")
    return previews


def _files(inputs: Sequence[Path], suffixes: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Every file, and whether it was found in a folder."""
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
            if not found:
                raise MaeError(f"{path.absolute()} contains no {', '.join(suffixes)} file")
            yield from ((file, True) for file in found)
        else:
            yield path, False


def _examples(config: "Config", name: str) -> "Sequence[Preview]":
    from mae_core.training.sources import build_datasets

    try:
        previews = build_datasets(config)[name].previews(4)
    except ConfigError as error:
        raise MaeError(
            f"no file to reconstruct was given, and there are no examples in the training data: {error}; name a file"
        ) from error
    if not previews:
        raise MaeError(f"no example in data.{name} can be read; name a file to reconstruct")
    return previews
