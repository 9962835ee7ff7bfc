"""Loading the samples of a plan: augmented by their own random numbers, replaced where they cannot be read."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from mae_core.interfaces import BadSample
from mae_core.masking.sampling import derive_seed
from mae_core.training.plan import Key, MicroBatches
from mae_core.training.sources import Source

MAX_REPLACEMENTS = 10
"""Unreadable samples in a row, after which the data as a whole is taken to be unreadable."""


@dataclass(frozen=True)
class Replaced:
    """A sample that could not be read, and the one that stood in for it."""

    epoch: int
    sample: str
    replaced_by: str
    reason: str


class Samples(TorchDataset):
    """Loads a key's sample with its own random numbers; replaces what cannot be read by one drawn from the same seed."""

    def __init__(self, sources: Mapping[str, Source], seed: int) -> None:
        self.sources = sources
        self.seed = seed

    def __getitem__(self, key: Key) -> dict[str, Any]:
        name, epoch, index = key
        source = self.sources[name]
        failures: list[tuple[int, BadSample]] = []
        for attempt in range(MAX_REPLACEMENTS):
            chosen = index
            if attempt:
                chosen = derive_seed(self.seed, "replacement", *key, attempt) % len(source)
            try:
                samples = source.load(chosen, seed=derive_seed(self.seed, "augment", name, epoch, chosen))
            except BadSample as error:
                failures.append((chosen, error))
                continue
            used = source.describe(chosen)
            replaced = [asdict(Replaced(epoch, source.describe(bad), used, str(error))) for bad, error in failures]
            return {"samples": samples, "name": used, "replaced": replaced}
        # not raised here: a worker's exception arrives with its traceback in its message
        return {"failure": f"{MAX_REPLACEMENTS} samples in a row cannot be read; the last one: {failures[-1][1]}"}


def make_loader(
    samples: Samples, batches: MicroBatches, *, num_workers: int | Literal["auto"], pin_memory: bool
) -> DataLoader[dict[str, Any]]:
    """Micro-batches: {"samples": {modality: (B * num_views, ...)}, "names": list of B, "replaced": list of dicts}.

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
        "samples": {name: torch.cat([item["samples"][name] for item in items]) for name in items[0]["samples"]},
        "names": [item["name"] for item in items],
        "replaced": [replaced for item in items for replaced in item["replaced"]],
    }


def _quiet_worker(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach every process of the group; the main one decides, workers end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
