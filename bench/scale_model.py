"""What bench/scale.py assumes of machines and runs, and what follows for one step and for failures.

FLOPs, weights and the state of the optimizer are those of `mae cost`. Times of masks and orders were measured once, in one
thread of an AMD EPYC. Everything else is an assumption: change it here, and run the script again.
"""

import math
import random
from dataclasses import dataclass, replace

GPUS = (64, 256, 1024)
RATE = 0.4 * 989e12
"""FLOP/s of a GPU: the share of an H100's peak that `mae cost` assumes."""
BACKWARD = 2 / 3
"""Share of a step's FLOPs that are of the backward pass, beside which gradients are added up."""
PER_MACHINE = 8
WORKERS = 12
"""Processes that read for a GPU, with a core each: what `train.num_workers=auto` takes at most."""
NETWORK = 400e9
"""Bytes a second between machines: an adapter of 400 Gbit/s for each GPU."""
STORAGE, WRITING = 100e9, 1e9
"""Bytes a second of the shared storage, for all machines together; and of one process that writes there."""
COPYING = 2e9
"""Bytes a second that a GPU copies into ordinary memory, for which the training waits."""
S3 = 5500
"""Reads a second that S3 promises at least for one prefix, which a folder of shards is."""
SOCKETS = 1024
"""Open files that a process may have by default. Each process of a run has two connections to the store where all meet."""
BEAT, REQUESTS = 2, 4
"""Seconds between the signs of life of a process, and the requests to the store that belong to one."""
COPY = 4e-6
"""Seconds that a GPU takes to start an operation on a few numbers. A decision has one for each process."""
GPU_HOURS = 50_000
"""Between two failures of one GPU, or of what it needs. Llama 3: 419 in 54 days on 16,384 GPUs, which is one in 50,678."""
RESTART, BY_HAND = 300.0, 8 * 3600.0
"""Seconds from a failure to the next step, besides reading the checkpoint; and where somebody has to notice first."""
NUM_FAILURES, SEED = 5000, 0
AUTO = 10
"""Minutes between checkpoints of `train.checkpoint_steps=auto`."""
INTERVALS = (1, 2, 5, AUTO, 20, 40, 80, 160, 320)
"""Those that are tried."""
KEY, SHUFFLING = 0.3e-6, 29e-9
"""Seconds of a sample: to be looked up in the order of a pass, and to be shuffled with ten million others."""
INDEX, CHECKING, ORDER, LISTING = 66, 25, 8, 120
"""Bytes of a sample: in the index, while the index is checked, in the order of a pass, in the list of a folder."""
KEPT_ORDERS = 1


@dataclass(frozen=True, kw_only=True)
class Work:
    """A run, and what one sample of it costs."""

    recipe: str
    what: str
    samples: int
    passes: int
    batch: int
    at_once: int
    """`train.device_batch_size`."""
    stored: float
    """Bytes of a file."""
    loaded: int
    """Bytes of a sample in memory, uint8."""
    reading: float
    """Seconds of a core to read, decode and crop a file."""
    masking: float
    """Seconds of a core to draw the masks of a sample, and to weigh them."""
    flops: float
    """Of the forward and backward pass."""
    weights: float
    """Bytes. Gradients are as many."""
    optimizer: float
    views: int = 1
    """Samples that one file gives."""

    @property
    def rate(self) -> float:
        """Samples a second of a GPU that never waits."""
        return RATE / self.flops

    @property
    def loads(self) -> float:
        """Files that it needs a second."""
        return self.rate / self.views

    @property
    def state(self) -> float:
        """Bytes of a checkpoint."""
        return self.weights + self.optimizer


PHOTOS = Work(
    recipe="image/mae_vit_large",
    what="ImageNet-22k",
    samples=14_197_122,
    passes=800,
    batch=4096,
    at_once=64,
    stored=110e3,
    loaded=3 * 224 * 224,
    reading=2.4e-3,
    masking=2.6e-6,
    flops=122.8e9,
    weights=1.317e9,
    optimizer=2.634e9,
)
SMALL_PHOTOS = replace(PHOTOS, what="ImageNet-22k, 256 pixels", stored=25e3, reading=1.0e-3)
CLIPS = Work(
    recipe="video/videomae_large",
    what="a billion clips",
    samples=10**9,
    passes=1,
    batch=2048,
    at_once=32,
    stored=1.5e6,
    loaded=3 * 16 * 224 * 224,
    reading=0.1,
    masking=8.6e-6,
    flops=838.0e9,
    weights=1.372e9,
    optimizer=2.744e9,
)
CLIPS_IN_VIEWS = replace(CLIPS, what="a billion clips, 4 crops of each", views=4, batch=512)
WORKS = (PHOTOS, SMALL_PHOTOS, CLIPS, CLIPS_IN_VIEWS)


def exchange(work: Work, gpus: int, network: float = NETWORK) -> float:
    """Seconds to add up the gradients of all GPUs in rings through all adapters; latency is left out."""
    return 2 * (gpus - 1) / gpus * work.weights / network


def parts_of_step(work: Work, gpus: int, *, network: float = NETWORK) -> dict[str, float]:
    """Seconds of everything that a step waits for."""
    model = work.batch * work.views / gpus / work.rate
    return {
        "model": model,
        "gradients": max(0.0, exchange(work, gpus, network) - BACKWARD * model),
        "masks": max(0.0, work.batch * (work.views * work.masking + KEY) - model),  # they are drawn while the device computes
        "deciding": gpus * COPY,
        "decoding": work.batch / gpus * work.reading / WORKERS,
        "storage": work.batch * work.stored / STORAGE,
    }


def duration(parts: dict[str, float]) -> float:
    """Seconds of the step. Samples are read and decoded beside everything else, which goes on one after the other."""
    reading = max(parts["decoding"], parts["storage"])
    return max(reading, sum(parts.values()) - parts["decoding"] - parts["storage"])


def bound(parts: dict[str, float]) -> str:
    """What takes longest."""
    return max(parts, key=lambda name: parts[name])


def between_failures(gpus: int) -> float:
    """Seconds from one to the next, on average."""
    return GPU_HOURS * 3600 / gpus


def young_daly(wait: float, mean: float) -> float:
    """The interval, in seconds, that loses least, as Young and Daly estimate it."""
    return math.sqrt(2 * wait * mean)


def goodput(interval: float, *, wait: float, write: float, restart: float, mean: float) -> float:
    """The share of time that goes into steps that count, simulated with the same failures for every interval.

    The training waits while a checkpoint is copied, and goes on while it is written. After a failure the run restarts, goes on
    from its last complete checkpoint, and loses what came after it.
    """
    failures = random.Random(SEED)
    useful = total = 0.0
    for _ in range(NUM_FAILURES):
        lived = failures.expovariate(1 / mean)
        total += lived
        useful += interval * max(0, (lived - restart - write) // (interval + wait))
    return useful / total
