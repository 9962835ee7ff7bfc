"""`mae pretrain` and `mae reconstruct`."""

import functools
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mae_registry import ConfigError, MaeError

if TYPE_CHECKING:
    from mae_core.config import Config
    from mae_core.interfaces import Preview
    from mae_core.model.autoencoder import MaskedAutoencoder

Recipe = Annotated[str, typer.Argument(help="The name of a recipe, such as image/mae_vit_base, or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Values to use instead of the recipe's, such as train.epochs=100."),
]

SIGNALLED = 128
"""The exit code of a stopped run is this plus the number of the signal, as in shells: 143 after SIGTERM."""
INTERRUPTED = SIGNALLED + signal.SIGINT
"""The exit code after Ctrl-C."""


Out = Annotated[Path | None, typer.Option(help="The folder to write the run to.", show_default="runs/RECIPE, with a number")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete the run in the folder --out, and start again.")]


def pretrain(
    recipe: Recipe, overrides: Overrides = None, out: Out = None, resume: Resume = False, overwrite: Overwrite = False
) -> None:
    """Pre-train a masked autoencoder from a recipe."""
    require_one_of(resume=resume, overwrite=overwrite)
    from mae_core.config import load_config
    from mae_core.runs.folder import choose_folder

    config = load_config(recipe, overrides or [])
    folder = choose_folder(config.name, out, resume=resume, overwrite=overwrite)
    run_training(config, folder, ["pretrain", recipe, *(overrides or [])], resume=resume, overwrite=overwrite)
    _say_what_next(config, folder)


def require_one_of(*, resume: bool, overwrite: bool) -> None:
    """To go on with a run and to delete it exclude each other."""
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite cannot be used together")


def run_training(
    config: "Config", folder: Path, command: Sequence[str], *, resume: bool, overwrite: bool, out: Path | None = None
) -> None:
    """Train with a display of the progress. Ctrl-C and other signals end the process, with the command that goes on.

    `command` is what the user typed, without `--out` and `--resume`; `out`: what `--out` has to be, if it is not `folder`.
    """
    from mae_core.cli.progress import TrainingProgress
    from mae_core.runs.folder import give_back
    from mae_core.training.interrupts import Interrupted
    from mae_core.training.run import train

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    console.print(f"{'resuming' if resume else 'training'} {config.name} in {folder}")
    try:
        make_display = functools.partial(TrainingProgress, console=Console(stderr=True))
        train(config, folder, make_display=make_display, resume=resume, overwrite=overwrite)
    except Interrupted as error:
        if error.signal != signal.SIGPIPE:  # then nobody reads it
            console.print(f"{error}\nto continue it:  {shell([*command, '--out', str(out or folder), '--resume'])}")
        raise typer.Exit(SIGNALLED + error.signal) from None
    finally:
        give_back(folder)


def _say_what_next(config: "Config", folder: Path) -> None:
    """Print where everything is, and some commands to try."""
    modalities = list(config["model"]["modalities"])
    pictures = sorted((folder / "pictures").glob("step-*.png"))
    lines = [f"run folder  {folder}/"]
    lines += [f"picture     {picture}" for picture in pictures[-len(modalities) :]]
    lines += [f"report      {folder / 'report.html'}", "", "what to try next:"]
    drawn = ["--modality", modalities[0]] if len(modalities) > 1 else []
    if config["model"]["modalities"][modalities[0]]["masker"].get("ratio") is not None:
        drawn += ["--mask-ratio", "0.5", "--mask-ratio", "0.9"]
    commands = [["config", "show", str(folder / "config.yaml")]]
    if pictures:  # some targets have none
        commands.insert(0, ["reconstruct", str(folder), "-o", "reconstruction.png", *drawn])
    if certificates := _certificates(config):
        commands.append(["verify", *certificates])
    typer.echo("\n".join([*lines, *(f"  {shell(command)}" for command in commands)]))


def _certificates(config: "Config") -> list[str]:
    """The names of the certificates of the plugins that the recipe's modalities come from."""
    from mae_core.build import modality_of
    from mae_core.registry import registry

    entries = config["model"]["modalities"]
    plugins = {registry().get("modalities", modality_of(config, entry)).plugin for entry in entries}
    return [component.name for component in registry() if component.kind == "certificates" and component.plugin in plugins]


def shell(words: Sequence[str]) -> str:
    """A command as this user would type it, with the path that `mae` was started by."""
    import shlex
    import shutil

    from mae_core.registry import plugin_files

    on_path = shutil.which("mae")
    own = Path(sys.argv[0])
    program = "mae" if not own.exists() or (on_path and own.samefile(on_path)) else str(own)
    options = [word for path in plugin_files() for word in ("--plugin", str(path))]
    return shlex.join([program, *words, *options])


def reconstruct(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a run, or a checkpoint file.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, or folders of files. Without any, examples from the training data are used."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write (PNG).")] = Path("reconstruction.png"),
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
    from mae_core.pictures.reconstruction import reconstruct as run
    from mae_core.runs.checkpoint import load_model
    from mae_registry import resolve

    model, config, _ = load_model(checkpoint)
    name = modality or _modality_of(inputs or [], model)
    previews = _read(inputs, model, name) if inputs else _examples(config, name)
    rows = []
    for ratio in mask_ratio or [None]:
        masker = None if ratio is None else build_masker(_with_ratio(config, name, ratio), name, model.backbone)
        rows += run(model, name, previews, seed=seed, masker=masker)
    resolve(find_modality(model.backbone.types[name]).picture)(rows, output)
    typer.echo(f"{output}: {len(rows)} row{'s' if len(rows) > 1 else ''}")


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
    """Each file as the modality reads it. A folder stands for the files in it that the modality can read."""
    from mae_core.build import modality as find_modality
    from mae_core.interfaces import Preview, as_sample
    from mae_registry import resolve

    modality = find_modality(model.backbone.types[name])
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in modality.file_suffixes)
            if not found:
                raise MaeError(f"{path.absolute()} contains no {', '.join(modality.file_suffixes)} file")
            files += found
        else:
            files.append(path)
    read, tokenizer = resolve(modality.read), model.parts(name).tokenizer
    samples = [as_sample(read(file, tokenizer)) for file in files]
    return [Preview(file.name, sample.x, extras=sample.extras) for file, sample in zip(files, samples, strict=True)]


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
