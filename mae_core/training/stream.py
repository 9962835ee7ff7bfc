"""Loading the samples of a plan: augmented by their own random numbers, replaced where they cannot be read."""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mae_core.interfaces import BadSample, Sample, Source
from mae_core.masking.sampling import derive_seed
from mae_core.training import workers
from mae_core.training.launch import count_cores
from mae_core.training.plan import Key
from mae_core.training.workers import SECONDS_BETWEEN_LOOKS, Batches, Crashes, Unloaded, Watched, prepare_worker
from mae_registry import ConfigError, MaeError, cause_of

MAX_REPLACEMENTS = 10
"""Unreadable samples in a row, after which the data as a whole is taken to be unreadable."""

T = TypeVar("T")
Joined = TypeVar("Joined")


@dataclass(frozen=True)
class Replaced:
    """A sample that could not be read, and the one that stood in for it."""

    epoch: int
    sample: str
    replaced_by: str
    reason: str


@dataclass
class Loaded:
    """Samples on the CPU, one or a micro-batch of them; the first axis of every tensor is the samples, all views counted."""

    samples: dict[str, Sample] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    """Each a `Replaced`."""
    failure: str = ""
    """Why there are no samples. It is not raised where it happens: a worker's exception would arrive as its traceback."""

    def to(self, device: torch.device) -> dict[str, Sample]:
        """The samples on a device. Raises MaeError where there are none."""
        if self.failure:
            raise MaeError(self.failure)
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Loaded":
        """What the loader asks for, so that samples reach a GPU without waiting."""
        self.samples = self._map(lambda tensor: tensor.pin_memory())
        return self

    def _map(self, function: Callable[[Tensor], Tensor]) -> dict[str, Sample]:
        return {
            entry: Sample(function(sample.x), {name: function(extra) for name, extra in sample.extras.items()})
            for entry, sample in self.samples.items()
        }


class Samples(Watched[Loaded]):
    """Loads a key's sample with its own random numbers; replaces what cannot be read by one drawn from the same seed."""

    def __init__(self, sources: Mapping[str, Source], seed: int) -> None:
        self.sources = sources
        self.seed = seed
        self.crashes = Crashes({name: source.describe for name, source in sources.items()})

    def __getitem__(self, key: Key) -> Loaded:
        name, epoch, index = key
        source = self.sources[name]
        failures: list[tuple[int, BadSample]] = []
        for attempt in range(MAX_REPLACEMENTS):
            chosen = index
            if attempt:
                chosen = derive_seed(self.seed, "replacement", *key, attempt) % len(source)
            try:
                with self.crashes.reading(name, chosen):
                    samples = source.load(chosen, seed=derive_seed(self.seed, "augment", name, epoch, chosen))
            except BadSample as error:
                failures.append((chosen, error))
                continue
            except ConfigError as error:
                return Loaded(failure=str(error))
            except Exception as error:
                return Loaded(failure=explain_mistake(name, source.describe, chosen, error, method="load"))
            used = source.describe(chosen)
            replaced = [asdict(Replaced(epoch, source.describe(bad), used, str(error))) for bad, error in failures]
            return Loaded(dict(samples), [used], replaced)
        return Loaded(failure=f"{MAX_REPLACEMENTS} samples in a row cannot be read; the last one: {failures[-1][1]}")


def explain_mistake(name: str, describe: Callable[[int], str], index: int, error: Exception, *, method: str) -> str:
    """What to say where a dataset's method raises what it should not."""
    try:
        described = describe(index)
    except Exception:
        described = f"number {index}"
    return (
        f"data.{name}: sample {described} could not be loaded: {cause_of(error)}. This is a mistake in the dataset's "
        f"`{method}`, which raises BadSample for a sample that cannot be read"
    )


def collate(items: Sequence[Loaded]) -> Loaded:
    """One micro-batch of samples."""
    for item in items:
        if item.failure:
            return item
    try:
        samples = {entry: _joined(entry, [item.samples[entry] for item in items]) for entry in items[0].samples}
    except MaeError as error:
        return Loaded(failure=str(error))
    names = [name for item in items for name in item.names]
    return Loaded(samples, names, [replaced for item in items for replaced in item.replaced])


def _joined(entry: str, samples: Sequence[Sample]) -> Sample:
    names = list(samples[0].extras)
    if any(set(sample.extras) != set(names) for sample in samples):
        found = sorted({", ".join(sample.extras) or "none" for sample in samples})
        raise MaeError(f"data.{entry}: all samples of a dataset must have the same extras; found {' and '.join(found)}")
    extras = {name: _cat(f"the extra {name!r}", entry, [sample.extras[name] for sample in samples]) for name in names}
    return Sample(_cat("samples", entry, [sample.x for sample in samples]), extras)


def _cat(what: str, entry: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = sorted({tuple(tensor.shape[1:]) for tensor in tensors})
    if len(shapes) > 1:
        found = " and ".join(map(str, shapes[:3]))
        raise MaeError(f"data.{entry}: in one batch, {what} must have one shape; found {found}")
    return torch.cat(list(tensors))


@dataclass(frozen=True)
class Loader(Generic[Joined]):
    """Batches that are to be loaded; see `running`."""

    torch: DataLoader[Joined]
    crashes: Crashes
    unloaded: Unloaded[Any]


def make_loader(
    samples: Watched[T],
    batches: Iterable[list[Any]],
    *,
    num_workers: int | Literal["auto"],
    pin_memory: bool,
    join: Callable[[list[T]], Joined] = collate,
) -> Loader[Joined]:
    """What `join` makes of the samples of each of `batches`, in their order. Touches no global generator.

    Where there are few batches, there are no more workers than that.
    """
    if num_workers == "auto":
        num_workers = min(12, max(1, count_cores() - 1))
    if isinstance(batches, Sized):
        num_workers = min(num_workers, len(batches))
    unloaded = Unloaded(batches)
    loader: DataLoader[Any] = DataLoader(
        samples,
        batch_sampler=unloaded,  # pyright: ignore[reportArgumentType] - any iterable will do
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=join,
        worker_init_fn=prepare_worker if num_workers else None,
        timeout=SECONDS_BETWEEN_LOOKS if num_workers else 0,
        generator=torch.Generator(),  # else the loader draws a seed for its workers from the global one
    )
    return Loader(loader, samples.crashes, unloaded)


@contextmanager
def running(loader: Loader[T]) -> Generator[Iterator[T]]:
    """The loader's batches. Its workers have ended when this is left, whatever they were doing."""
    batches = Batches(loader.torch, loader.crashes, loader.unloaded)
    # torch's handler would raise in the middle of whatever the main process does when a worker dies
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield batches
    finally:
        batches.close(grace=workers.GRACE)
        signal.signal(signal.SIGCHLD, handler)
