"""Tasks: what a trainer trains.

The effective batch is what one optimizer step sees: the micro-batches of all devices. Its rows are its samples, every view
counted.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from mae_core.interfaces.dataset import Draws
from mae_core.interfaces.devices import Devices
from mae_core.interfaces.sample import Sample

Batch = Mapping[str, Sample]
"""The samples of a micro-batch, by the entries under `model.modalities`."""


class Source(Protocol):
    """Numbered samples that a step may take its batch from."""

    @property
    def num_views(self) -> int:
        """Samples that one load gives."""
        ...

    @property
    def draws(self) -> Draws | None:
        """How samples are drawn; None: an epoch takes every sample once."""
        ...

    def __len__(self) -> int: ...

    def load(self, index: int, *, seed: int) -> Mapping[str, Sample]:
        """Every tensor with the views as its first axis. Raises BadSample."""
        ...

    def describe(self, index: int) -> str:
        """What a person would call the sample."""
        ...


class StepInputs(Protocol):
    """What a task wants to know of rows beside their samples, such as their masks."""

    def __getitem__(self, rows: slice, /) -> Self:
        """The inputs of some rows."""
        ...


@dataclass(frozen=True)
class Losses:
    """What a micro-batch adds to a step."""

    parts: Mapping[str, Tensor]
    """0-d each. Their sum over all parts, micro-batches and devices is the loss of the step."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """0-d each, for the log: means over the rows of the micro-batch, of which it has the mean over all rows of the step."""


Inputs = TypeVar("Inputs", bound=StepInputs)


class Task(ABC, Generic[Inputs]):
    """Everything in a training that depends on what is trained. Built as `task(config, **recipe)`, from the section `task`.

    Building a task touches no data. `open_data` and `build_model` come next, and before all other methods. Where a recipe is
    only checked, `build_model` is called alone, on the meta device: sizes that follow from data may then be any.

    The loss of a step is a sum of errors over a sum of weights, both over the whole effective batch. So that this comes out
    the same however the batch is cut, the weights are known before the first forward pass: `begin` says what belongs to the
    step, `weigh` what its loss is divided by, and `losses` the share of one micro-batch.
    """

    model: nn.Module
    """What is trained and saved; there after `build_model`."""
    sources: Mapping[str, Source]
    """There after `open_data`."""
    num_joined: int = 1
    """Samples next to each other that have to go through a device at once: what is made of each depends on the others."""
    notes: Sequence[str] = ()
    """What a person should know when training begins, a line each; there after `build_model` and `open_data`."""

    @abstractmethod
    def build_model(self, *, fresh: bool) -> None:
        """Make `model`. Without `fresh`, a checkpoint's weights are loaded into it next, and none need be read from elsewhere.

        Random weights come from torch's global generator.
        """

    @abstractmethod
    def open_data(self) -> None:
        """Make `sources`. Raises ConfigError where there is no such data."""

    @abstractmethod
    def begin(self, source: str, num_rows: int, *, generator: torch.Generator, progress: float) -> Inputs:
        """What belongs to the effective batch of a step, drawn from the generator alone, and so the same on every device.

        `progress` is the share of training that is done, 0 to 1.
        """

    @abstractmethod
    def weigh(self, inputs: Inputs) -> Mapping[str, Tensor] | None:
        """What the loss of these rows is divided by; weights add up over rows. None where `settle` has to see the samples."""

    def settle(self, batch: Batch, inputs: Inputs) -> Inputs:
        """Inputs that can be weighed, for inputs that depend on what is in the samples (normalised, on the device)."""
        raise NotImplementedError(f"{type(self).__name__} has inputs that cannot be weighed yet, so it needs a method `settle`")

    @abstractmethod
    def normalize(self, batch: Batch) -> Batch:
        """Samples as they were loaded, on the device -> what the model takes."""

    @abstractmethod
    def losses(self, forward: Callable[..., Any], batch: Batch, inputs: Inputs, weights: Mapping[str, Tensor]) -> Losses:
        """What a micro-batch adds to the loss of a step whose weights are `weights`.

        `forward` is `model` as the devices wrap it, to be called once; everything else may be read from `model`.
        """

    def after_step(self, step: int, num_steps: int) -> None:
        """After an optimizer step that was taken (the first is 0): what follows the weights moves here."""
        return

    def validate(self, devices: Devices) -> Mapping[str, float]:
        """Numbers of data that are held out, such as "val/loss" and "val/accuracy"; none where nothing is held out.

        Called `train.num_validations` times in a run, in the processes of all devices, which share the work: each measures its
        part (`devices.part`), and what is measured is put together (`devices.gather`). The numbers of the writer are logged.

        Before, the trainer gives all devices the same weights, of which each has the whole `model`, puts it into evaluation
        mode, turns gradients off and sets the run's precision; the modes of all modules and the global generators are put back
        afterwards. MaeError ends the run; what was learned is saved first if all processes raise it, as `Decided`.
        """
        return {}

    def write_pictures(self, folder: Path, step: int) -> None:
        """Show what has been learned after `step` steps, in `folder`/pictures. Called in the process that writes."""
        return

    def finish(self, folder: Path, devices: Devices) -> None:
        """Leave in `folder` what is used after training. Called in the same circumstances as `validate`.

        Every process calls it, so that what is still to be measured is shared; only one may write (`devices.is_writer`).
        """
        return
