"""What a run writes into its folder beside its journal: checkpoints, facts and the report."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.tensor import DTensor

from mae_core.config import Config
from mae_core.interfaces import Task
from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, plugin_versions, save_checkpoint
from mae_core.runs.folder import write_facts
from mae_core.runs.outputs import describe_run
from mae_core.runs.report import write_report
from mae_core.runs.sharded import is_shared, share_state
from mae_core.training.plan import Plan
from mae_core.training.world import World
from mae_registry import ConfigError, MaeError, cause_of

CHECKPOINT_SECONDS = 600
PATIENCE = 60
"""Seconds that a run which has failed waits for the checkpoint that is being written, on a disk that may hang."""


def restore_model(task: Task[Any], checkpoint: Checkpoint, plan: Plan) -> None:
    """Load the weights. Raises ConfigError for a run of other data."""
    if checkpoint.training["samples"] != plan.sizes:
        raise ConfigError(
            "a run must be resumed with the data that it was started with; it had "
            f"{checkpoint.training['samples']} samples, but now there are {plan.sizes}"
        )
    task.model.load_state_dict(checkpoint.model)


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint, world: World) -> None:
    """Load the rest, for a model that the devices share already."""
    optimizer.load_state_dict(checkpoint.training["optimizer"])
    share_state(optimizer)
    world.fabric.strategy.precision.load_state_dict(checkpoint.training["precision"])


class Saver:
    """Saves a training. All processes call its methods, and one of them writes.

    A checkpoint is copied while the training waits, and written by another thread while it goes on. Processes that load data
    may be forked meanwhile, since they use nothing that this thread locks.
    """

    def __init__(
        self,
        task: Task[Any],
        config: Config,
        folder: Path,
        *,
        plan: Plan,
        world: World,
        device_batch: Mapping[str, int],
        steps_saved: int,
    ) -> None:
        """`device_batch`: how many samples of each source go through a device at once. `steps_saved`: those of the checkpoint
        that the run goes on from, or 0."""
        self._task, self._config, self._folder, self._plan, self._world = task, config, folder, plan, world
        self._device_batch = dict(device_batch)
        self._steps_saved, self._last_save = steps_saved, time.monotonic()
        self._writing: Future[None] | None = None

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be written when step `step` (from 1) has been taken.

        Also true after a failed write, so that all devices enter `save` together, where the error is raised.
        """
        if self._writing is not None and self._writing.done() and self._writing.exception() is not None:
            return True
        steps = self._config["train"]["checkpoint_steps"]
        if steps == "auto":
            return time.monotonic() - self._last_save > CHECKPOINT_SECONDS
        return step % steps == 0

    def save(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Begin to write a checkpoint of after step `step`. Raises MaeError, on all devices, for the one before."""
        self.finish()
        self._world.agree_on_buffers(self._task.model)
        self._steps_saved, self._last_save = step, time.monotonic()
        has_parts = self._is_shared()
        if not self._world.is_writer and not has_parts:
            return
        training = {
            "optimizer": optimizer.state_dict(),
            "precision": self._world.fabric.strategy.precision.state_dict(),
            "samples": self._plan.sizes,
            "device_batch_size": self._device_batch,
            "devices": self._world.size,
        }
        state = _copied_to_cpu({"model": self._task.model.state_dict(), "training": training})
        write = partial(
            save_checkpoint,
            self._folder,
            Checkpoint(step, self._config.to_yaml(), state["model"], state["training"], plugin_versions(self._config)),
            keep=self._config["train"]["keep_checkpoints"],
            is_writer=self._world.is_writer,
            group=self._world.aside if has_parts else None,
        )
        self._writing = _in_background(write)

    def finish(self) -> None:
        """Wait on all devices until what is being written is on disk. Raises MaeError on all of them if it was not written."""
        if not self._world.is_writer:
            with contextlib.suppress(MaeError):  # the writer has the same error, which all of them raise next
                self._wait()
        self._world.on_writer(self._wait)

    def _wait(self, timeout: float | None = None) -> None:
        if self._writing is not None and wait([self._writing], timeout).done:
            writing, self._writing = self._writing, None
            writing.result()

    def save_finite(self, step: int, optimizer: torch.optim.Optimizer) -> str:
        """Keep what was learned before a step that ends the run, unless it is worth nothing. The end of a message on it."""
        if step == 0:
            return ""
        is_finite = all(self._world.gather([_is_finite(self._task.model)]))
        try:
            if is_finite and step > self._steps_saved:
                self.save(step, optimizer)
            self.finish()
        except MaeError as error:
            return f". The weights from before it could not be saved: {error}"
        newest = self._world.on_writer(lambda: next(iter(list_checkpoints(self._folder)), None))
        if is_finite:
            return f". The weights from before it are in {newest}"
        return f". The weights were no longer finite before it; the newest checkpoint is {newest or 'not there yet'}"

    @contextlib.contextmanager
    def whole_model(self) -> Generator[None]:
        """The task's model as one device can use it alone, in every process."""
        if not self._is_shared():
            yield
            return
        shared = self._task.model
        try:
            self._build_whole(shared)
            yield
        finally:
            self._task.model = shared

    def _is_shared(self) -> bool:
        return is_shared(dict(self._task.model.named_parameters()))

    def _build_whole(self, shared: nn.Module) -> None:
        """Put all weights together in a model of their own."""
        whole = {name: _whole(tensor).cpu() for name, tensor in shared.state_dict().items()}
        with torch.random.fork_rng(devices=[]):
            self._task.build_model(fresh=False)
        self._task.model.load_state_dict(whole)
        self._task.model.to(self._world.fabric.device)

    def write_facts(self, status: str) -> None:
        """What the report tells of the run beside its curves."""
        if not self._world.is_writer:
            return
        fabric = self._world.fabric
        precision = str(fabric.strategy.precision.precision)
        facts = describe_run(
            self._config,
            self._task.model,
            device=fabric.device,
            num_devices=self._world.size,
            precision=precision,
            status=status,
        )
        write_facts(self._folder, {**facts, "samples": self._plan.sizes, "device_batch_size": self._device_batch})

    def write_report(self) -> None:
        """`report.html`."""
        if self._world.is_writer:
            write_report(self._folder)

    def tell_the_end(self, error: BaseException) -> None:
        """Write into the folder of the run, as far as that is still possible; the error that ends the run comes first."""
        why = str(error) if isinstance(error, MaeError) else f"{type(error).__name__}: {error}"
        if isinstance(error, Exception):  # a second Ctrl-C does not wait for anything
            try:
                self._wait(PATIENCE)
            except Exception as unsaved:
                why += f"; and before that, {cause_of(unsaved)}"
        with contextlib.suppress(MaeError, OSError):
            self.write_facts(f"stopped: {why}")
            self.write_report()


def _copied_to_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """A copy of all tensors, of those that devices share too, which no later step of the training changes."""
    return BlockingAsyncStager().stage(state)


def _in_background(work: Callable[[], None]) -> Future[None]:
    """What `work` comes to, in a thread that does not keep the process from ending."""
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="checkpoint").start()
    return outcome


def _is_finite(model: nn.Module) -> bool:
    """Whether all of this device's weights are."""
    own = (parameter.to_local() if isinstance(parameter, DTensor) else parameter for parameter in model.parameters())
    return all(bool(parameter.isfinite().all()) for parameter in own)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
