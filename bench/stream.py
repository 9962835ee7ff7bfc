"""What the stream itself costs for each sample: keys, random numbers, dictionaries and joining, without reading or decoding.

    python bench/stream.py [--samples 8192] [--batch 256] [--rounds 7]

The dataset gives the same 3 x 32 x 32 tensor for every number, so that all the time is the stream's own. It is compared with
torch's DataLoader over the same tensors with its own joining (default_collate), which is the least that a loader does. Rounds
alternate, and medians of processor time are printed, so that a busy machine matters little.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mae_core.interfaces import Dataset, Preview
from mae_core.training.plan import MicroBatches, Plan
from mae_core.training.sources import Source
from mae_core.training.stream import Loaded, Samples, make_loader, running

SHAPE = (3, 32, 32)


class Ready(Dataset):
    """Samples that are in memory."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._sample = torch.zeros(SHAPE, dtype=torch.uint8)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        """What torch's own loader asks for."""
        return self._sample

    def load(self, index: int, *, random: Random) -> Tensor:
        """The sample."""
        return self._sample

    def describe(self, index: int) -> str:
        """Its number."""
        return f"sample {index}"

    def previews(self, count: int) -> Sequence[Preview]:
        """None."""
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Ready(options.samples)
    plain = DataLoader(data, batch_size=options.batch, shuffle=True)  # pyright: ignore[reportArgumentType]
    variants: dict[str, Callable[[], Iterator[object]]] = {
        "torch DataLoader": lambda: iter(plain),
        "the stream of a training": lambda: own_batches(data, options.batch),
    }
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(options.rounds + 1):
        for name, batches in variants.items():
            start = time.process_time()
            for _ in batches():
                pass
            if round_number:  # the first one warms up
                costs[name].append((time.process_time() - start) / options.samples * 1e6)
    base = statistics.median(costs["torch DataLoader"])
    for name, values in costs.items():
        cost = statistics.median(values)
        print(f"{name:28}{cost:7.1f} us a sample  {cost / base:5.2f} x torch DataLoader")


def own_batches(data: Dataset, batch_size: int) -> Iterator[Loaded]:
    plan = Plan({"x": len(data)}, batch_size=batch_size, num_epochs=1, seed=0)
    batches = MicroBatches(plan, device_batch={"x": batch_size}, share=range(batch_size), first_step=0)
    samples = Samples({"x": Source({"x": data})}, seed=0)
    with running(make_loader(samples, batches, num_workers=0, pin_memory=False)) as loaded:
        yield from loaded


if __name__ == "__main__":
    main()
