"""The samples of a run in order: a function of (seed, epoch, sample) alone, whatever loads them."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from mae_core.interfaces import BadSample, Dataset
from mae_core.seeds import derive_seed

MAX_REPLACEMENTS = 10
"""Unreadable samples in a row, after which the data as a whole is taken to be unreadable."""

Key = tuple[int, int]
"""(epoch, index): which sample, and which augmentation of it."""


@dataclass(frozen=True)
class Replaced:
    """A sample that could not be read, and the one that stood in for it."""

    epoch: int
    sample: str
    replaced_by: str
    reason: str


class Samples(TorchDataset):
    """Loads (epoch, index) with its own random numbers; replaces what cannot be read by a sample drawn from the same seed."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        failures: list[tuple[int, BadSample]] = []
        for attempt in range(MAX_REPLACEMENTS):
            chosen = index
            if attempt:
                chosen = derive_seed(self.seed, "replacement", epoch, index, attempt) % len(self.dataset)
            try:
                sample = self.dataset.load(chosen, random=Random(derive_seed(self.seed, "augment", epoch, chosen)))
            except BadSample as error:
                failures.append((chosen, error))
                continue
            name = self.dataset.describe(chosen)
            replaced = [asdict(Replaced(epoch, self.dataset.describe(bad), name, str(error))) for bad, error in failures]
            samples = sample if self.dataset.num_views > 1 else sample.unsqueeze(0)
            return {"samples": samples, "name": name, "replaced": replaced}
        # not raised here: a worker's exception arrives with its traceback in its message
        return {"failure": f"{MAX_REPLACEMENTS} samples in a row cannot be read; the last one: {failures[-1][1]}"}


class StepBatches(Sampler[list[Key]]):
    """Keys of each micro-batch of one rank, from `first_step` to the end of the run."""

    def __init__(
        self, num_samples: int, *, seed: int, num_epochs: int, batch_size: int, micro_batch_size: int, first_step: int = 0,
        rank: int = 0, num_ranks: int = 1,
    ) -> None:  # fmt: skip
        self.num_samples = num_samples
        self.seed = seed
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.micro_batch_size = micro_batch_size
        self.first_step = first_step
        self.rank = rank
        self.num_ranks = num_ranks

    def __iter__(self) -> Iterator[list[Key]]:
        steps_per_epoch = self.num_samples // self.batch_size
        share = self.batch_size // self.num_ranks
        for epoch in range(self.first_step // steps_per_epoch, self.num_epochs):
            order = self._order(epoch)
            first = max(0, self.first_step - epoch * steps_per_epoch)
            for start in range(first * self.batch_size, steps_per_epoch * self.batch_size, self.batch_size):
                mine = start + self.rank * share
                for micro in range(mine, mine + share, self.micro_batch_size):
                    yield [(epoch, index) for index in order[micro : micro + self.micro_batch_size]]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        return torch.randperm(self.num_samples, generator=generator).tolist()


def make_loader(
    samples: Samples, batches: StepBatches, *, num_workers: int | Literal["auto"], pin_memory: bool
) -> DataLoader[dict[str, Any]]:
    """Micro-batches: {"samples": Tensor (B * num_views, ...), "names": list of B, "replaced": list of dicts}.

    Or {"failure": message}, where nothing can be read.
    """
    if num_workers == "auto":
        num_workers = min(12, max(1, (os.cpu_count() or 1) - 1))
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=_collate,
        worker_init_fn=_quiet_worker if num_workers else None,
    )


def _collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    for item in items:
        if "failure" in item:
            return item
    return {
        "samples": torch.cat([item["samples"] for item in items]),
        "names": [item["name"] for item in items],
        "replaced": [replaced for item in items for replaced in item["replaced"]],
    }


def _quiet_worker(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal's group; the main one decides, workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
