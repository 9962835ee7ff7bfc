"""Pre-training, from a recipe to a run's folder. The loop reads straight down."""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric

from mae_core.build import build_component, build_model
from mae_core.config import Config
from mae_core.files import write_atomically
from mae_core.interfaces import Dataset
from mae_core.masking.sampling import derive_seed, take_rows
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_newest,
    plugin_versions,
    require_plugins,
    save_checkpoint,
)
from mae_core.runs.folder import (
    clear,
    remove_unfinished,
    require_free,
    require_same_config,
    run_lock,
    write_config,
    write_facts,
)
from mae_core.runs.logs import BadSampleLog, MetricLog
from mae_core.runs.outputs import describe_run, draw_pictures, remove_pictures, save_encoder
from mae_core.runs.report import write_report
from mae_core.training.batching import choose_device_batch
from mae_core.training.interrupts import Interrupted, interrupts
from mae_core.training.plan import MicroBatches, Plan
from mae_core.training.preflight import check_recipe
from mae_core.training.settings import TrainSettings
from mae_core.training.sources import build_datasets, make_sources
from mae_core.training.step import MicroBatch, NonFiniteLoss, Scheduled, train_step
from mae_core.training.stream import Samples, make_loader
from mae_registry import ConfigError, MaeError

CHECKPOINT_SECONDS = 600
MIN_BAD_SAMPLES = 10
"""Unreadable samples before their share is looked at: one among the first few is no share."""


class Display(Protocol):
    """Shows a run's progress to a person; `mae_core.cli.progress.TrainingProgress` is one."""

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None:
        """`step` steps are done."""

    def message(self, text: str) -> None:
        """Something worth a line of its own."""


class MakeDisplay(Protocol):
    """Makes the display when the length of the run is known."""

    def __call__(self, num_steps: int, num_epochs: int, *, first_step: int) -> AbstractContextManager[Display]:
        """A display, to be entered."""
        ...


def pretrain(config: Config, folder: Path, *, make_display: MakeDisplay, resume: bool = False, overwrite: bool = False) -> None:
    """Train the model of `config` and leave everything in `folder`.

    Raises Interrupted after a clean stop, MaeError for what a person must mend; `folder` can be resumed after either.
    """
    check_recipe(config)  # before the data is looked for, which may take minutes
    settings, datasets = TrainSettings(**config["train"]), build_datasets(config)
    if resume:
        with run_lock(folder):
            remove_unfinished(folder)
            Run(config, settings, datasets, folder, resume=True).train(make_display)
        return
    run = Run(config, settings, datasets, folder, resume=False)
    with run_lock(folder):  # not before: a recipe that cannot be run leaves no folder, and loses no old run
        require_free(folder, overwrite=overwrite)
        clear(folder)
        run.train(make_display)


class Run:
    """One training run: its state, and the steps between two checkpoints."""

    def __init__(
        self, config: Config, settings: TrainSettings, datasets: Mapping[str, Dataset], folder: Path, *, resume: bool
    ) -> None:
        self.config, self.settings, self.datasets, self.folder = config, settings, datasets, folder
        self.sources = make_sources(config, datasets)
        self.plan = Plan(
            {name: len(source) for name, source in self.sources.items()},
            batch_size=settings.batch_size,
            num_epochs=settings.epochs,
            seed=settings.seed,
            weights=settings.weights,
        )
        self.fabric = Fabric(accelerator="auto", devices=1, precision=_precision(settings))
        torch.manual_seed(derive_seed(settings.seed, "init"))
        self.raw_model: MaskedAutoencoder = build_model(config)
        self.raw_optimizer = build_component("optimizers", config["optimizer"], self.raw_model, settings.batch_size)
        schedule = build_component("schedules", config["schedule"], settings.epochs)
        self.scheduled = Scheduled(self.raw_optimizer, schedule)
        if settings.compile:
            self.raw_model.encoder.compile()
            for name in datasets:
                self.raw_model.parts(name).decoder.compile()
        self.model, self.optimizer = self.fabric.setup(self.raw_model, self.raw_optimizer)
        self.first_step = self._restore() if resume else 0
        self.device_batch = {
            name: choose_device_batch(self.model, source, settings, self.fabric) for name, source in self.sources.items()
        }

    def train(self, make_display: MakeDisplay) -> None:
        """Step by step to the end. However it ends, the report says how."""
        write_config(self.folder, self.config)
        write_facts(self.folder, self._facts("running"))
        try:
            self._train(make_display)
        except BaseException as error:
            why = str(error) if isinstance(error, MaeError) else f"{type(error).__name__}: {error}"
            write_facts(self.folder, self._facts(f"stopped: {why}"))
            if isinstance(error, torch.OutOfMemoryError):
                raise MaeError("the device's memory does not suffice; lower train.device_batch_size and --resume") from error
            raise
        else:
            save_encoder(self.raw_model, self.config, self.folder)
            write_facts(self.folder, self._facts("finished"))
        finally:
            write_report(self.folder)

    def _train(self, make_display: MakeDisplay) -> None:
        settings, plan, step = self.settings, self.plan, self.first_step
        picture_steps = {plan.num_steps * (i + 1) // settings.num_pictures for i in range(settings.num_pictures)}
        loader = iter(self._loader())
        last_save = time.monotonic()
        with (
            interrupts() as interrupted,
            make_display(plan.num_steps, settings.epochs, first_step=step) as display,
            MetricLog(self.folder, from_step=step) as metrics,
        ):
            bad = BadSampleLog(self.folder, from_step=step)
            remove_pictures(self.folder, after_step=step)
            while step < plan.num_steps:
                started = time.monotonic()
                lr = self.scheduled.set(step / plan.steps_per_epoch)
                source = plan.source(step)
                losses = self._step(step, source, loader, bad)
                step += 1

                epoch = 1 + (step - 1) // plan.steps_per_epoch
                loss, speed = sum(losses.values()), self._batch_rows(source) / (time.monotonic() - started)
                own = {f"loss/{name}": value for name, value in losses.items()} if len(self.datasets) > 1 else {}
                metrics.log(step, epoch=epoch, loss=loss, lr=lr, samples_per_s=speed, **own)
                display.update(step=step, epoch=epoch, loss=loss, samples_per_s=speed)

                # once in a while: pictures, a checkpoint
                if step in picture_steps:
                    for name, dataset in self.datasets.items():
                        draw_pictures(self.raw_model, name, dataset, self.folder, step)
                    write_report(self.folder)
                if step == plan.num_steps or interrupted() or self._checkpoint_is_due(step, last_save):
                    self._save(step)
                    last_save = time.monotonic()
                if interrupted() and step < plan.num_steps:
                    raise Interrupted(f"interrupted after step {step} of {plan.num_steps}; saved in {self.folder}")

    def _batch_rows(self, source: str) -> int:
        """Samples of an effective batch, all views counted."""
        return self.settings.batch_size * self.sources[source].num_views

    def _step(self, step: int, source: str, loader: Iterator[dict[str, Any]], bad: BadSampleLog) -> dict[str, float]:
        """One optimizer step. A non-finite loss ends the run with a checkpoint of before and the batch's samples."""
        names: list[str] = []
        num_micro = self.settings.batch_size // self.device_batch[source]
        try:
            return train_step(
                self.fabric,
                self.model,
                self.optimizer,
                self._micro_batches(step, source, loader, bad, names),
                num_micro_batches=num_micro,
                clip_grad=self.settings.clip_grad,
            )
        except NonFiniteLoss as error:
            listed = self.folder / "non_finite_batch.txt"
            write_atomically(listed, lambda file: file.write("\n".join(names).encode(errors="surrogateescape")))
            raise MaeError(
                f"step {step + 1}: {error}. {self._save_finite(step)} The names of the batch's {len(names)} samples are in "
                f"{listed}. Look at these samples, or start a new run with a lower learning rate or train.clip_grad"
            ) from error

    def _save_finite(self, step: int) -> str:
        """Save the weights from before a non-finite loss, if they are finite: a finite loss may have infinite gradients."""
        if all(bool(parameter.isfinite().all()) for parameter in self.raw_model.parameters()):
            return f"The weights from before it are in {self._save(step)}."
        newest = next(iter(list_checkpoints(self.folder)), None)
        return f"The weights were no longer finite before it; the newest checkpoint is {newest or 'not there yet'}."

    def _micro_batches(
        self, step: int, source: str, loader: Iterator[dict[str, Any]], bad: BadSampleLog, names: list[str]
    ) -> Iterator[MicroBatch]:
        """The step's micro-batches on the device, with masks drawn for the whole effective batch at once."""
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed, "mask", step))
        masks = self.raw_model.draw_masks(
            self.sources[source].datasets,
            self._batch_rows(source),
            generator=generator,
            progress=step / self.plan.num_steps,
        )
        num_rows = self.device_batch[source] * self.sources[source].num_views
        for micro, start in enumerate(range(0, self._batch_rows(source), num_rows)):
            batch = next(loader)
            if "failure" in batch:
                raise MaeError(batch["failure"])
            names += batch["names"]
            for replaced in batch["replaced"]:
                bad.log(step + 1, **replaced)
            self._require_readable(step, bad)
            samples = {
                name: self.raw_model.parts(name).tokenizer.normalize(x.to(self.fabric.device, non_blocking=True))
                for name, x in batch["samples"].items()
            }
            torch.manual_seed(derive_seed(self.settings.seed, "noise", step, micro, self.fabric.global_rank))
            yield samples, {name: take_rows(drawn, slice(start, start + num_rows)) for name, drawn in masks.items()}

    def _require_readable(self, step: int, bad: BadSampleLog) -> None:
        num_seen = (step + 1) * self.settings.batch_size
        if bad.count > max(MIN_BAD_SAMPLES, self.settings.max_bad_share * num_seen):
            raise MaeError(
                f"{bad.count} of the first {num_seen} samples could not be read, more than train.max_bad_share="
                f"{self.settings.max_bad_share}; they are listed in {self.folder / 'bad_samples.jsonl'}"
            )

    def _loader(self) -> Any:
        batches = MicroBatches(self.plan, device_batch=self.device_batch, first_step=self.first_step)
        return make_loader(
            Samples(self.sources, self.settings.seed),
            batches,
            num_workers=self.settings.num_workers,
            pin_memory=self.fabric.device.type == "cuda",
        )

    def _checkpoint_is_due(self, step: int, last_save: float) -> bool:
        if self.settings.checkpoint_steps == "auto":
            return time.monotonic() - last_save > CHECKPOINT_SECONDS
        return step % self.settings.checkpoint_steps == 0

    def _save(self, step: int) -> Path:
        training = {
            "optimizer": self.raw_optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "samples": self.plan.sizes,
        }
        checkpoint = Checkpoint(
            step, self.config.to_yaml(), self.raw_model.state_dict(), training, plugin_versions(self.config)
        )
        return save_checkpoint(self.folder, checkpoint, keep=self.settings.keep_checkpoints)

    def _restore(self) -> int:
        """Go on from the newest whole checkpoint; from the start if the run was killed before its first. Returns the step."""
        checkpoint = load_newest(self.folder)
        if checkpoint is None:
            return 0
        require_plugins(checkpoint, self.folder)
        require_same_config(checkpoint, self.config)
        if checkpoint.training["samples"] != self.plan.sizes:
            raise ConfigError(
                "a run is resumed with the data that it was started with; it had "
                f"{checkpoint.training['samples']} samples, there are {self.plan.sizes} now"
            )
        self.raw_model.load_state_dict(checkpoint.model)
        self.raw_optimizer.load_state_dict(checkpoint.training["optimizer"])
        self.fabric.strategy.precision.load_state_dict(checkpoint.training["precision"])
        return checkpoint.step

    def _facts(self, status: str) -> dict[str, Any]:
        return describe_run(self.config, self.raw_model, self.fabric, status) | {
            "samples": self.plan.sizes,
            "device_batch_size": self.device_batch,
        }


def _precision(settings: TrainSettings) -> Any:
    if settings.precision != "auto":
        return settings.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
