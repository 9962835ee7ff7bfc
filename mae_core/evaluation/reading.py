"""Reading the samples of a dataset in order, by several processes, without any of the random numbers of a training."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

import torch

from mae_core.interfaces import ALONE, BadSample, Dataset, Decided, Devices, Sample, as_sample, first_view, with_views
from mae_core.masking.sampling import derive_seed
from mae_core.training.stream import Loaded, collate, explain_mistake, make_loader, running
from mae_core.training.workers import Crashes, Watched

BATCH_SIZE = 64
"""Rows that are measured at once, which the views of a sample share.

Devices share out whole batches. So there is one number for all that is measured: samples that a device has kept in memory are
those that it will be asked for again only if they are read in the same batches.
"""

View = int | Literal["test"]
"""What is read of a sample; see `read_batches`."""


class Skipped(NamedTuple):
    """A sample that could not be read, and why."""

    sample: str
    reason: str


@dataclass
class Read:
    """Samples as they were loaded, and those that could not be."""

    loaded: Loaded
    indices: list[int]
    skipped: list[Skipped]

    def pin_memory(self) -> "Read":
        """What the loader asks for."""
        self.loaded.pin_memory()
        return self


@dataclass
class Seen:
    """What was read of a dataset so far, in order, and what could not be."""

    names: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    """Their numbers in the dataset."""
    skipped: list[Skipped] = field(default_factory=list)

    def take(self, batch: Read) -> bool:
        """Add a batch. Returns whether it has any samples."""
        self.names += batch.loaded.names
        self.indices += batch.indices
        self.skipped += batch.skipped
        return bool(batch.indices)

    def everywhere(self, devices: Devices, *, what: str = "samples") -> "Seen":
        """What all devices have seen, in their order. Raises MaeError if no sample could be read on any device."""
        seen = Seen(devices.gather(self.names), devices.gather(self.indices), devices.gather(self.skipped))
        if not seen.indices:
            raise Decided(f"none of the {len(seen.skipped)} {what} can be read; the first one: {seen.skipped[0].reason}")
        return seen


@contextmanager
def read_batches(
    dataset: Dataset,
    indices: Sequence[int],
    *,
    entry: str,
    view: View = 0,
    seed: int = 0,
    num_workers: int | Literal["auto"],
    device: torch.device,
    devices: Devices = ALONE,
) -> Generator[Iterator[Read]]:
    """The samples with these numbers, in their order, on the CPU; `device` is where they will go.

    Of several devices, each gets its part of the batches, which are the same ones on any number of devices.

    `view` 0 is `Dataset.read`, "test" all views of `Dataset.read_views`, one after the other; from 1 on samples are augmented
    by random numbers of `seed`, of the number of the view and of that of the sample. Raises MaeError where processes that read
    die again and again.
    """
    batch_size = BATCH_SIZE if isinstance(view, int) else max(1, BATCH_SIZE // dataset.num_test_views)
    firsts = devices.part(range(0, len(indices), batch_size))
    batches = [list(indices[first : first + batch_size]) for first in firsts]
    reading = _Reading(dataset, entry, view=view, seed=seed)
    loader = make_loader(reading, batches, num_workers=num_workers, pin_memory=device.type == "cuda", join=_join)
    with running(loader) as read:
        yield read


class _Reading(Watched[Read]):
    """One sample at a time, in a worker process."""

    def __init__(self, dataset: Dataset, entry: str, *, view: View, seed: int) -> None:
        self._dataset, self._entry, self._view, self._seed = dataset, entry, view, seed
        self.crashes = Crashes({entry: dataset.describe})

    def __getitem__(self, index: int) -> Read:
        try:
            with self.crashes.reading(self._entry, index):
                sample = self._read(index)
        except BadSample as error:
            return Read(Loaded(), [], [Skipped(self._dataset.describe(index), str(error))])
        except Exception as error:
            method = {0: "read", "test": "read_views"}.get(self._view, "load")
            failure = explain_mistake(self._entry, self._dataset.describe, index, error, method=method)
            return Read(Loaded(failure=failure), [], [])
        return Read(Loaded({self._entry: sample}, [self._dataset.describe(index)]), [index], [])

    def _read(self, index: int) -> Sample:
        """With views as the first axis of every tensor."""
        if not isinstance(self._view, int):
            return self._dataset.read_views(index)
        return with_views(self._read_one(index, self._view))

    def _read_one(self, index: int, view: int) -> Sample:
        if view == 0:
            return as_sample(self._dataset.read(index))
        random = Random(derive_seed(self._seed, "view", view, index))
        sample = as_sample(self._dataset.load(index, random=random))
        return sample if self._dataset.num_views == 1 else first_view(sample)


def _join(items: list[Read]) -> Read:
    loaded = [item.loaded for item in items if item.indices or item.loaded.failure]
    return Read(
        collate(loaded) if loaded else Loaded(),
        [index for item in items for index in item.indices],
        [skipped for item in items for skipped in item.skipped],
    )
