"""The command line. Importing it does not import torch: each command imports what it needs when it runs."""

import io
import itertools
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mae_core.cli import (
    configs,
    cost,
    doctor,
    embed,
    evaluation,
    features,
    install,
    masks,
    new_plugin,
    plugins,
    recipes,
    reconstruct,
    reports,
    shards,
    tools,
    training,
    verify,
)
from mae_core.training.launch import is_first, place
from mae_registry import MaeError

app = typer.Typer(
    name="mae",
    help="Pre-train masked autoencoders on any modality, and use what they have learned.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback if a command fails.")] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.py", help="Load this Python file as a plugin. Repeat the option for more files."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from mae_core.version import __version__

        typer.echo(f"mae-core {__version__}")
        raise typer.Exit
    if plugin:
        from mae_core.registry import use_plugin_file

        for path in plugin:
            use_plugin_file(path)


for panel, commands in {
    "Train, and look at the result": {"pretrain": training.pretrain, "reconstruct": reconstruct.reconstruct},
    "Use what was learned": {
        "finetune": evaluation.finetune,
        "probe": evaluation.probe,
        "knn": features.knn,
        "embed": embed.embed,
    },
    "Runs and weights": {
        "verify": verify.verify,
        "convert": tools.convert,
        "report": reports.report,
        "statistics": tools.statistics,
    },
    "Plugins": {
        "plugins": plugins.list_plugins,
        "install": install.install,
        "uninstall": install.uninstall,
        "new-plugin": new_plugin.new_plugin,
        "hooks": plugins.hooks,
        "doctor": doctor.doctor,
    },
}.items():
    for name, command in commands.items():
        kind = tools.WithLayouts if name == "convert" else None
        app.command(name, cls=kind, rich_help_panel=panel)(command)
app.command("recipes", rich_help_panel="Recipes")(recipes.recipes)
app.command("cost", rich_help_panel="Recipes")(cost.cost)
app.add_typer(masks.app, name="masks", rich_help_panel="Recipes")
app.add_typer(shards.app, name="shards", rich_help_panel="Runs and weights")
app.add_typer(configs.app, name="config", rich_help_panel="Recipes")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `mae`. Every error becomes one message and exit code 1; wrong usage exits with 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows question marks
    if place() is not None:  # one of several processes, each of which would be told that no parameters are unused
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            app(_global_options_first(arguments))
        except BrokenPipeError:  # closing a pipe early (`mae plugins | head`) is not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            if "--debug" in arguments:
                traceback.print_exc()
            _complain(error)
            sys.exit(1)


def _global_options_first(arguments: Sequence[str]) -> list[str]:
    """`--debug` and `--plugin FILE.py` may stand anywhere; Typer wants them before the command."""
    first, rest, words = [], [], iter(arguments)
    for word in words:
        if word == "--plugin":
            first += [word, *itertools.islice(words, 1)]
        elif word == "--debug" or word.startswith("--plugin="):
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest]


def _complain(error: Exception) -> None:
    if isinstance(error, MaeError):
        message = str(error)
    elif isinstance(error, OSError):
        message = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    else:
        message = f"{type(error).__name__}: {error}\nThis is a bug in mae or in a plugin; `mae --debug ...` shows where."
    _print(f"error: {message}")


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    if is_first():
        _print(f"warning: {message}")


def _print(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
