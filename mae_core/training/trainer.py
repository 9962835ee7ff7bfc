"""The trainer: what all trainings have in common, whatever they train."""

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_core.config import Config
from mae_core.files import write_atomically
from mae_core.interfaces import Decided, Losses, Task
from mae_core.masking.sampling import derive_seed
from mae_core.registry import build_component
from mae_core.runs.checkpoint import Checkpoint
from mae_core.runs.outputs import count_parameters, describe_device, remove_pictures
from mae_core.runs.page import counted
from mae_core.runs.report import RUNNING
from mae_core.training.batching import choose_device_batch
from mae_core.training.devices import compile_blocks, has_drop_path, recompute_blocks
from mae_core.training.feed import Fed, Feed
from mae_core.training.interrupts import Interrupted, Interrupts, interrupts
from mae_core.training.journal import Journal, MakeDisplay, Silence
from mae_core.training.plan import MicroBatches, Plan
from mae_core.training.saving import Saver, restore_model, restore_optimizer
from mae_core.training.settings import TrainSettings
from mae_core.training.step import NonFiniteStep, Scheduled, train_step
from mae_core.training.stream import Samples, make_loader, running
from mae_core.training.validation import evenly_spaced, undisturbed
from mae_core.training.world import Decision, World
from mae_registry import MaeError, cause_of


@dataclass(frozen=True)
class _Session:
    """What a run has from its start, or a resume, to its end or an interruption."""

    feed: Feed
    journal: Journal
    interrupts: Interrupts


class Trainer:
    """A run of a task: from here to its end, step by step, with everything that it leaves in its folder."""

    def __init__(
        self, task: Task[Any], config: Config, folder: Path, *, world: World, checkpoint: Checkpoint | None = None
    ) -> None:
        """`task` has its data open, and gets its model here. The run goes on from the checkpoint, if there is one."""
        self.task, self.config, self.folder, self.world, self.fabric = task, config, folder, world, world.fabric
        self.settings = settings = TrainSettings(**config["train"])
        self.plan = Plan(
            {name: len(source) for name, source in task.sources.items()},
            batch_size=settings.batch_size,
            num_epochs=settings.epochs,
            seed=settings.seed,
            weights=settings.weights,
            draws={name: source.draws for name, source in task.sources.items() if source.draws is not None},
        )
        self.steps_done = checkpoint.step if checkpoint else 0
        torch.manual_seed(derive_seed(settings.seed, "init"))
        task.build_model(fresh=checkpoint is None)
        if checkpoint:
            restore_model(task, checkpoint, self.plan)
        if settings.recompute:
            recompute_blocks(task.model)
        if settings.compile:
            compile_blocks(task.model)
        self.model = self.fabric.setup_module(task.model)
        optimizer = build_component("optimizers", config["optimizer"], task.model, settings.batch_size)
        self.scheduled = Scheduled(optimizer, build_component("schedules", config["schedule"], settings.epochs))
        if checkpoint:
            restore_optimizer(optimizer, checkpoint, world)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        self.device_batch = self._chosen_before(checkpoint) or {name: self._choose_device_batch(name) for name in task.sources}
        self._saver = Saver(
            task,
            config,
            folder,
            plan=self.plan,
            world=world,
            device_batch=self.device_batch,
            steps_saved=self.steps_done,
        )
        self._validation_steps = evenly_spaced(settings.num_validations, self.plan.num_steps)

    def train(self, make_display: MakeDisplay) -> None:
        """Train to the end, or until the run is asked to stop. However it ends, the report says how."""
        self._saver.write_facts(RUNNING)
        try:
            with interrupts() as interrupted, self._journal(make_display, interrupted) as journal:
                self._take_all_steps(journal, interrupted)
            with self._measuring():
                self.task.finish(self.folder, self.world)
        except BaseException as error:
            self._saver.tell_the_end(error)
            if isinstance(error, torch.OutOfMemoryError):
                raise MaeError(
                    "the memory of the device is not sufficient; lower train.device_batch_size and use --resume, or begin a "
                    "new run with train.recompute=true"
                ) from error
            raise
        self._saver.write_facts("finished")
        self._saver.write_report()
        self.fabric.barrier()  # whoever comes back finds everything that was written

    def _journal(self, make_display: MakeDisplay, interrupted: Interrupts) -> Journal:
        if not self.world.is_writer:
            return Silence()
        display = make_display(self.plan.num_steps, self.settings.epochs, first_step=self.steps_done)
        return Journal(self.folder, display, interrupted, first_step=self.steps_done)

    def _take_all_steps(self, journal: Journal, interrupted: Interrupts) -> None:
        num_steps, num_pictures = self.plan.num_steps, self.settings.num_pictures
        picture_steps = evenly_spaced(num_pictures, num_steps)
        if self.world.is_writer:
            remove_pictures(self.folder, after_step=self.steps_done)
        journal.say(self.summary())
        batches = MicroBatches(
            self.plan,
            device_batch=self.device_batch,
            share=self.world.share(self.settings.batch_size, group=self.task.num_joined),
            first_step=self.steps_done,
        )
        loader = make_loader(
            Samples(self.task.sources, self.settings.seed),
            batches,
            num_workers=self.settings.num_workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        with running(loader) as loaded:
            feed = Feed(
                self.task, self.plan, loaded, device_batch=self.device_batch, device=self.fabric.device, world=self.world
            )
            session = _Session(feed, journal, interrupted)
            while self.steps_done < num_steps:
                decision = self._take_step(session)
                if decision.save or decision.signal or self.steps_done == num_steps:
                    self._save()
                if self.steps_done in picture_steps:
                    self._write_pictures(journal)
                if decision.signal and self.steps_done < num_steps:
                    self._saver.finish()
                    text = f"interrupted after step {self.steps_done} of {num_steps}; saved in {self.folder}"
                    raise Interrupted(text, signal=decision.signal)
        self._saver.finish()
        journal.sum_up()

    def _take_step(self, session: _Session) -> Decision:
        """The next step, from its learning rate to its line in the log."""
        step = self.steps_done
        rate = self.scheduled.set(step / self.plan.steps_per_epoch)
        session.journal.begin_step()
        try:
            decision, taken = self._optimize(session, session.feed.step(step))
        except MaeError as error:  # none of which is raised after the weights have changed
            raise MaeError(f"step {step + 1}: {error}{self._save_finite(error)}") from error
        if taken:
            self.task.after_step(step, self.plan.num_steps)
        self.steps_done += 1
        session.journal.end_step()
        measured = self._validate(session.journal)
        if self.steps_done in self._validation_steps:  # which may have taken long enough for a signal to come
            decision = replace(decision, signal=max(self.world.gather([session.interrupts.received])))
        self._log(session.journal, decision, rate, measured)
        return decision

    @contextlib.contextmanager
    def _measuring(self) -> Generator[None]:
        """What `Task.validate` and `Task.finish` are called in."""
        self.world.agree_on_buffers(self.task.model)
        with self._saver.whole_model(), undisturbed(self.task.model), self.fabric.autocast():
            yield

    def _validate(self, journal: Journal) -> Mapping[str, float]:
        """The task's numbers of held-out data, where these are due."""
        if self.steps_done not in self._validation_steps:
            return {}
        try:
            with self._measuring():
                measured = self.task.validate(self.world)
        except MaeError as error:
            raise MaeError(f"validation after step {self.steps_done}: {error}{self._save_finite(error)}") from error
        if measured:
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
            journal.say(f"step {self.steps_done}: {numbers}")
        return measured

    def _optimize(self, session: _Session, fed: Fed) -> tuple[Decision, bool]:
        """Gradients, decision, optimizer. Of a step that is not finite, the samples are listed."""
        try:
            return train_step(
                self.fabric,
                self.task,
                self.model,
                self.optimizer,
                fed.micro_batches,
                fed.weights,
                num_micro_batches=fed.num_micro_batches,
                num_rows=fed.num_rows,
                decide=partial(self._decide, session, fed),
                clip_grad=self.settings.clip_grad,
            )
        except NonFiniteStep as error:
            names = self.world.gather([name for loaded in fed.loaded for name in loaded.names])
            listed = self.folder / "non_finite_batch.txt"
            if self.world.is_writer:
                write_atomically(listed, lambda file: file.write("\n".join(names).encode(errors="surrogateescape")))
            raise Decided(
                f"{error}. The names of the batch's {len(names)} samples are in {listed}: look at these samples, or start a "
                "new run with a lower learning rate or train.clip_grad"
            ) from error

    def _decide(self, session: _Session, fed: Fed, losses: Losses, grad_norm: Tensor) -> Decision:
        """What all devices do about this step. Raises MaeError where too many samples cannot be read."""
        session.feed.prepare(self.steps_done + 1)  # the device is still at work, and is waited for next
        replaced = [entry for loaded in fed.loaded for entry in loaded.replaced]
        decision = self.world.decide(
            losses,
            grad_norm,
            num_bad=len(replaced),
            signal=session.interrupts.received,
            save=self._saver.is_due(self.steps_done + 1),
        )
        if decision.num_bad:
            step = self.steps_done + 1
            num_samples, max_share = step * self.settings.batch_size, self.settings.max_bad_share
            replaced = self.world.gather(replaced)
            log_bad = partial(session.journal.log_bad, step, replaced, num_samples=num_samples, max_share=max_share)
            self.world.on_writer(log_bad)
        return decision

    def _log(self, journal: Journal, decision: Decision, rate: float, measured: Mapping[str, float]) -> None:
        several = len(decision.losses) > 1 or len(self.task.sources) > 1
        parts = {f"loss/{name}": loss for name, loss in decision.losses.items()} if several else {}
        journal.log_step(
            self.steps_done,
            epoch=1 + (self.steps_done - 1) // self.plan.steps_per_epoch,
            loss=decision.loss,
            rate=rate,
            num_rows=self.settings.batch_size * self.task.sources[self.plan.source(self.steps_done - 1)].num_views,
            others={"grad_norm": decision.grad_norm, **parts, **decision.metrics, **measured},
        )

    def _write_pictures(self, journal: Journal) -> None:
        """A picture is no reason to end a run, nor to lose a checkpoint."""
        self._saver.finish()
        with self._saver.whole_model():
            if self.world.is_writer:
                try:
                    self.task.write_pictures(self.folder, self.steps_done)
                except Exception as error:
                    journal.say(f"no pictures after step {self.steps_done}: {cause_of(error)}")
        self._saver.write_report()

    def _save(self) -> None:
        self._saver.save(self.steps_done, self.optimizer.optimizer)

    def _save_finite(self, error: MaeError) -> str:
        """Keep what was learned before `error`, where all processes meet it. The end of a message on it."""
        if self.world.size > 1 and not isinstance(error, Decided):
            return ""
        return self._saver.save_finite(self.steps_done, self.optimizer.optimizer)

    def _chosen_before(self, checkpoint: Checkpoint | None) -> Mapping[str, int] | None:
        """What goes through a device at once in a run that goes on with as many devices, to the bit."""
        if checkpoint is None or checkpoint.training["devices"] != self.world.size:
            return None
        return checkpoint.training["device_batch_size"]

    def _choose_device_batch(self, source: str) -> int:
        return choose_device_batch(self.task, source, self.settings, fabric=self.fabric, world=self.world, model=self.model)

    def summary(self) -> str:
        """What begins here, for a person: one line each on data, device, model and steps."""
        data = ", ".join(f"{name} ({counted(len(source), 'sample')})" for name, source in self.task.sources.items())
        device, precision = (
            describe_device(self.fabric.device, number=self.world.size),
            self.fabric.strategy.precision.precision,
        )
        at_once = ", ".join(map(str, sorted(set(self.device_batch.values()))))
        on_each = " on each device" if self.world.size > 1 else ""
        begins = f", from step {self.steps_done + 1}" if self.steps_done else ""
        size = counted(self.settings.batch_size, "sample")
        differs = "note    drop path draws its own random numbers on each device, so losses depend on the number of devices"
        return "\n".join(
            (
                f"data    {data}, such as {next(iter(self.task.sources.values())).describe(0)}",
                f"device  {device}, {precision}",
                f"model   {count_parameters(self.task.model):,} trainable parameters",
                f"steps   {self.plan.num_steps:,} of {size}, {at_once} at once{on_each}{begins}",
                *([differs] if self.world.size > 1 and has_drop_path(self.task.model) else []),
                *self.task.notes,
            )
        )
