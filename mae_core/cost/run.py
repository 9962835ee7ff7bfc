"""How long a run is: its samples and steps, and the hours and the money that they take on some hardware."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mae_core.training.plan import count_batches, source_shares
from mae_registry import MaeError, did_you_mean

UTILIZATION = 0.4
"""The share of a device's peak that is assumed to be reached: that of well-tuned training of transformers in 16 bits."""


@dataclass(frozen=True)
class Hardware:
    """A device, by its data sheet: dense operations a second, not those of sparse matrices."""

    title: str
    half: float
    """FLOP/s of matrix products of 16-bit numbers that are added up in 32 bits."""
    single: float
    """FLOP/s in 32 bits."""


HARDWARE = {
    "h100": Hardware("H100 SXM", half=989e12, single=67e12),
    "h200": Hardware("H200 SXM", half=989e12, single=67e12),
    "a100": Hardware("A100", half=312e12, single=19.5e12),
    "l40s": Hardware("L40S", half=362e12, single=91.6e12),
    "l4": Hardware("L4", half=121e12, single=30.3e12),
    "v100": Hardware("V100 SXM2", half=125e12, single=15.7e12),
    "t4": Hardware("T4", half=65e12, single=8.1e12),
    "rtx4090": Hardware("RTX 4090", half=165e12, single=82.6e12),
    "rtx3090": Hardware("RTX 3090", half=71e12, single=35.6e12),
}


def find_hardware(name: str) -> Hardware:
    """Raises MaeError for one that is not known."""
    if name not in HARDWARE:
        hint = did_you_mean(name, HARDWARE)
        raise MaeError(
            f"--hardware: {name!r} is not known.{hint} For another device, measure the samples per second of a short run and "
            "give them as --rate"
        )
    return HARDWARE[name]


@dataclass(frozen=True)
class Run:
    """The length of a training."""

    epochs: int
    steps: int
    batch_size: int
    samples: int
    """That pass through the model, every view of every epoch counted."""
    shares: Mapping[str, float]
    """The part of the samples that is of each source."""


def count_run(settings: Mapping[str, Any], lengths: Mapping[str, int], num_views: Mapping[str, int]) -> Run:
    """The run that `train` describes, with so many samples of each source in an epoch, and views of each sample.

    With several sources, the expected run: which of them a step takes is random.
    """
    batch_size, epochs = settings["batch_size"], settings["epochs"]
    num_batches = count_batches(lengths, batch_size)
    steps = epochs * sum(num_batches.values())
    often = source_shares(num_batches, settings["weights"])
    rows = {name: often[name] / sum(often.values()) * num_views[name] for name in lengths}
    per_load = sum(rows.values())
    shares = {name: number / per_load for name, number in rows.items()}
    return Run(epochs, steps, batch_size, round(steps * batch_size * per_load), shares)


@dataclass(frozen=True)
class Time:
    """What a run takes."""

    flops: float
    """Of the whole training."""
    rate: float
    """Samples that all devices together take in a second."""
    hours: float
    price: float | None


def estimate(
    run: Run,
    flops_per_sample: float,
    *,
    peak: float,
    devices: int = 1,
    rate: float | None = None,
    price: float | None = None,
) -> Time:
    """Hours from a measured rate, or else from `UTILIZATION` of the devices' peak (FLOP/s of each).

    `price` is that of one device for an hour.
    """
    rate = devices * peak * UTILIZATION / flops_per_sample if rate is None else rate
    hours = run.samples / rate / 3600
    return Time(run.samples * flops_per_sample, rate, hours, None if price is None else hours * devices * price)
