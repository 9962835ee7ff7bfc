"""Turn a recipe into the folder of a run."""

import warnings
from pathlib import Path

from mae_core.config import Config
from mae_core.runs.checkpoint import load_newest, require_plugins
from mae_core.runs.folder import clear, remove_unfinished, require_free, require_same_config, write_config
from mae_core.runs.lock import run_lock
from mae_core.training.journal import MakeDisplay
from mae_core.training.preflight import build_task, check_recipe
from mae_core.training.trainer import Trainer


def rehearse(config: Config, folder: Path) -> str:
    """Check all that is checked before a training begins, and return what it would say then. Writes nothing to `folder`.

    Raises MaeError for what a person must mend.
    """
    check_recipe(config)
    task = build_task(config)
    task.open_data()
    return Trainer(task, config, folder).summary()


def train(config: Config, folder: Path, *, make_display: MakeDisplay, resume: bool = False, overwrite: bool = False) -> None:
    """Train what `config` describes, and leave everything in `folder`.

    Raises Interrupted after a clean stop, MaeError for what a person must mend; `folder` can be resumed after either.
    """
    check_recipe(config)  # before the data is looked for, which may take minutes
    task = build_task(config)
    task.open_data()
    if resume:
        with run_lock(folder):
            remove_unfinished(folder)
            checkpoint = load_newest(folder)
            if checkpoint is None:
                warnings.warn(f"there is no checkpoint in {folder} yet: the run begins again at step 1", stacklevel=2)
            else:
                require_plugins(checkpoint, folder)
                require_same_config(checkpoint, config)
            trainer = Trainer(task, config, folder, checkpoint=checkpoint)
            write_config(folder, config)
            trainer.train(make_display)
        return
    trainer = Trainer(task, config, folder)
    with run_lock(folder):  # not before: a recipe that cannot be run leaves no folder, and loses no old run
        require_free(folder, overwrite=overwrite)
        clear(folder)
        write_config(folder, config)
        trainer.train(make_display)
