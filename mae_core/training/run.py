"""Turn a recipe into the folder of a run."""

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path

from mae_core.config import Config
from mae_core.runs.checkpoint import Checkpoint, load_newest, require_plugins
from mae_core.runs.folder import clear, remove_unfinished, require_free, require_same_config, write_config
from mae_core.runs.lock import run_lock
from mae_core.training.journal import MakeDisplay
from mae_core.training.preflight import build_task, check_recipe
from mae_core.training.settings import TrainSettings
from mae_core.training.trainer import Trainer
from mae_core.training.world import World


def rehearse(config: Config, folder: Path) -> str:
    """Check all that is checked before a training begins, and return what it would say then. Writes nothing to `folder`.

    Raises MaeError for what a person must mend.
    """
    check_recipe(config)
    task = build_task(config)
    task.open_data()
    settings = replace(TrainSettings(**config["train"]), devices=1, nodes=1)
    return Trainer(task, config, folder, world=World.join(settings)).summary()


def train(
    config: Config, folder: Path, *, world: World, make_display: MakeDisplay, resume: bool = False, overwrite: bool = False
) -> None:
    """Train what `config` describes, and leave everything in `folder`. Every process of `world` calls this.

    Raises Interrupted after a clean stop, MaeError for what a person must mend; `folder` can be resumed after either.
    """
    check_recipe(config)  # before the data is looked for, which may take minutes
    task = build_task(config)
    task.open_data()
    with contextlib.ExitStack() as held:
        if resume:
            world.first(lambda: _take_up(held, folder))
            # the checkpoint has no name here, so that its memory is free while the run goes on
            trainer = Trainer(task, config, folder, world=world, checkpoint=_newest(config, folder))
            world.first(lambda: write_config(folder, config))
        else:
            trainer = Trainer(task, config, folder, world=world)
            # not before: a recipe that cannot be run leaves no folder, and loses no old run
            world.first(lambda: _begin(held, config, folder, overwrite=overwrite))
        trainer.train(make_display)


def _take_up(held: contextlib.ExitStack, folder: Path) -> None:
    held.enter_context(run_lock(folder))
    remove_unfinished(folder)


def _begin(held: contextlib.ExitStack, config: Config, folder: Path, *, overwrite: bool) -> None:
    held.enter_context(run_lock(folder))
    require_free(folder, overwrite=overwrite)
    clear(folder)
    write_config(folder, config)


def _newest(config: Config, folder: Path) -> Checkpoint | None:
    checkpoint = load_newest(folder)
    if checkpoint is None:
        warnings.warn(f"there is no checkpoint in {folder} yet: the run begins again at step 1", stacklevel=2)
        return None
    require_plugins(checkpoint, folder)
    require_same_config(checkpoint, config)
    return checkpoint
