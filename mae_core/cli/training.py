"""`mae pretrain`."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from mae_core.cli.requeue import requeue
from mae_registry import MaeError

if TYPE_CHECKING:
    from mae_core.config import Config
    from mae_core.training.world import World

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
    with on_all_devices(config) as world:
        resume = resume or is_restarted(out)
        folder = world.on_writer(lambda: choose_folder(config.name, out, resume=resume, overwrite=overwrite))
        command = ["pretrain", recipe, *overrides]
        run_training(config, folder, command, world=world, resume=resume, overwrite=overwrite)
        if world.is_writer:
            _say_what_next(config, folder)


@contextlib.contextmanager
def on_all_devices(config: "Config") -> "Generator[World]":
    """The processes of a training, one for each device of the recipe's `train` section.

    Where nobody else has started them, they are started here, and this process only watches over them.
    """
    from mae_core.training.launch import count_devices, place, supervise
    from mae_core.training.settings import TrainSettings
    from mae_core.training.world import World

    settings = TrainSettings(**config["train"])
    num_devices, _ = count_devices(settings)
    if place() is None and num_devices > 1:
        raise typer.Exit(supervise(num_devices))
    world = World.join(settings)
    with world.together():
        yield world


def is_restarted(out: Path | None) -> bool:
    """Whether torchrun has started this run again, which then continues where it was. Raises MaeError if it could not."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) and out is None:
        raise MaeError("with torchrun --max-restarts, name the run's folder with --out, where it continues after a restart")
    from mae_core.runs.folder import CONFIG

    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and out is not None and (out / CONFIG).is_file()


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
    config: "Config",
    folder: Path,
    command: Sequence[str],
    *,
    world: "World",
    resume: bool,
    overwrite: bool,
    out: Path | None = None,
) -> None:
    """Train with a display of the progress. Ctrl-C and other signals end the process, with the command that continues the run.

    `command` is what the user typed, without `--out` and `--resume`; `out`: what `--out` has to be, if it is not `folder`.
    """
    from mae_core.cli.progress import TrainingProgress
    from mae_core.runs.folder import give_back
    from mae_core.training.interrupts import Interrupted
    from mae_core.training.run import train

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, quiet=not world.is_writer)
    console.print(f"{'resuming' if resume else 'training'} {config.name} in {folder}")
    try:
        make_display = functools.partial(TrainingProgress, console=Console(stderr=True))
        train(config, folder, world=world, make_display=make_display, resume=resume, overwrite=overwrite)
    except Interrupted as error:
        if error.signal != signal.SIGPIPE:  # then nobody reads it
            console.print(f"{error}\nto continue it:  {shell([*command, '--out', str(out or folder), '--resume'])}")
        if world.is_writer and (answer := requeue(error.signal)):
            console.print(answer)
        raise SystemExit(SIGNALLED + error.signal) from None
    finally:
        if world.is_writer:
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
    """A command as this user would type it, with the way in which `mae` was started."""
    import shlex
    import shutil

    from mae_core.registry import plugin_files

    on_path = shutil.which("mae")
    own = Path(sys.argv[0])
    is_found = not own.exists() or (on_path is not None and own.samefile(on_path))
    program = ["python", "-m", "mae_core.cli"] if own.name == "__main__.py" else ["mae" if is_found else str(own)]
    options = [word for path in plugin_files() for word in ("--plugin", str(path))]
    return shlex.join([*program, *words, *options])
