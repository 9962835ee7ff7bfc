"""Turn a recipe into the folder of a run."""

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch

from mae_core.config import Config
from mae_core.interfaces import Decided
from mae_core.runs.checkpoint import Checkpoint, find_newest, load_checkpoint, require_plugins
from mae_core.runs.folder import clear, remove_unfinished, require_free, require_same_config, write_config
from mae_core.runs.lock import run_lock
from mae_core.training.batching import require_choice
from mae_core.training.devices import choose_device, require_devices
from mae_core.training.journal import MakeDisplay
from mae_core.training.launch import count_devices, place
from mae_core.training.preflight import build_task, check_recipe
from mae_core.training.settings import TrainSettings
from mae_core.training.trainer import Trainer
from mae_core.training.world import World
from mae_registry import ConfigError, MaeError


def rehearse(config: Config, folder: Path) -> str:
    """Check all that is checked before a training begins, and return what it would say then. Writes nothing to `folder`.

    Nothing is started on the other devices of the run, if it would have several. Raises MaeError for what a person must mend.
    """
    check_recipe(config)
    world = _Rehearsal.of(TrainSettings(**config["train"]))
    task = build_task(config)
    task.open_data()
    try:
        return Trainer(task, config, folder, world=world).summary()
    except torch.OutOfMemoryError as error:
        raise MaeError(
            "a dry run takes the whole model to one device, whose memory is not sufficient. A run with train.strategy=fsdp may "
            "have enough, since each device has a part; check the rest with --device cpu"
        ) from error


class _Rehearsal(World):
    """This process in the place of the first device of a run, without the others."""

    @classmethod
    def of(cls, settings: TrainSettings) -> Self:
        """Raises ConfigError for devices that are not there. Several machines are taken to be like this one."""
        if place() is not None:
            raise ConfigError("a dry run is for a single process: start it without torchrun or srun, also for many devices")
        nodes = 1 if settings.nodes == "auto" else settings.nodes
        devices, _ = count_devices(replace(settings, nodes=1))
        kind = choose_device(settings.device).type
        require_devices(kind, devices)
        require_choice(settings, kind=kind, num_devices=devices * nodes)
        world = cls.join(replace(settings, devices=1, nodes=1))
        world.size = devices * nodes
        return world

    def smallest(self, number: int) -> int:
        """This device's number, since the others are taken to be like it."""
        return number


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
            trainer = Trainer(task, config, folder, world=world, checkpoint=_newest(config, folder, world))
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


def _newest(config: Config, folder: Path, world: World) -> Checkpoint | None:
    """The same one in all processes: that which the first one finds whole. Raises Decided in all where one cannot read it."""
    own: list[Checkpoint] = []

    def choose() -> Path | None:
        found = find_newest(folder)
        if found is None:
            warnings.warn(f"there is no checkpoint in {folder} yet: the run begins again at step 1", stacklevel=2)
            return None
        path, checkpoint = found
        require_plugins(checkpoint, folder)
        require_same_config(checkpoint, config)
        own.append(checkpoint)
        return path

    path, problem = world.first(choose), ""
    if path is not None and not own:
        try:
            own.append(load_checkpoint(path))
        except MaeError as error:
            problem = f"process {world.rank} of the run cannot read what the first one has read: {error}"
    if problems := [text for text in world.gather([problem]) if text]:
        raise Decided(problems[0])
    return own[0] if own else None
