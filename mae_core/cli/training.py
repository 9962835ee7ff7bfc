"""`mae pretrain`."""

import functools
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

if TYPE_CHECKING:
    from mae_core.config import Config

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
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="What to compute on. auto: a GPU where there is one.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, say what would be trained on what, and stop. Nothing is written.")
]


def pretrain(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> None:
    """Pre-train a masked autoencoder from a recipe."""
    refuse_both(resume=resume, overwrite=overwrite, dry_run=dry_run)
    from mae_core.config import load_config
    from mae_core.runs.folder import choose_folder

    overrides = [*(overrides or []), *on_device(device)]
    config = load_config(recipe, overrides)
    if dry_run:
        rehearse_training(config, out, overwrite=overwrite)
        return
    folder = choose_folder(config.name, out, resume=resume, overwrite=overwrite)
    run_training(config, folder, ["pretrain", recipe, *overrides], resume=resume, overwrite=overwrite)
    _say_what_next(config, folder)


def refuse_both(*, resume: bool, overwrite: bool, dry_run: bool) -> None:
    """To go on with a run excludes deleting it, and a dry run is a new one."""
    if resume and (overwrite or dry_run):
        raise typer.BadParameter(f"--resume and {'--overwrite' if overwrite else '--dry-run'} cannot be used together")


def on_device(device: str) -> list[str]:
    """The override that says so in the recipe of a run."""
    return [] if device == "auto" else [f"train.device={device}"]


def rehearse_training(config: "Config", out: Path | None, *, overwrite: bool) -> None:
    """Check all that a training needs, and print what it would say when it begins."""
    from mae_core.runs.folder import require_free
    from mae_core.training.run import rehearse

    if out is not None:
        require_free(out, overwrite=overwrite)
    said = rehearse(config, out or Path())
    typer.echo(f"recipe  {config.name}\n{said}\neverything is ready; nothing was written")


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
    lines += [f"encoder     {folder / 'encoder.safetensors'}", f"report      {folder / 'report.html'}", "", "what to try next:"]
    chosen = ["--modality", modalities[0]] if len(modalities) > 1 else []
    drawn = list(chosen)
    if config["model"]["modalities"][modalities[0]]["masker"].get("ratio") is not None:
        drawn += ["--mask-ratio", "0.5", "--mask-ratio", "0.9"]
    commands = [["config", "show", str(folder / "config.yaml")]]
    if pictures:  # some targets have none
        commands.insert(0, ["reconstruct", str(folder), "-o", "reconstruction.png", *drawn])
    root = config.get(f"data.{modalities[0]}.root")
    files = root if isinstance(root, str) else "FILES"
    commands.append(["embed", str(folder), files, "-o", "features.safetensors", *chosen])
    commands.append(["knn", str(folder), "DATA", *chosen])
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
