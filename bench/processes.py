"""A step of several processes beside that of one, each of which has one core.

    python bench/processes.py [--devices 2] [--strategies ddp fsdp] [--batch 16] [--steps 8] [--rounds 3] [--tiny]

Each is a run of `mae pretrain` on photographs that are made up, with `train.devices` and without. They take turns. The
time of a step is the median of a run's steps but for the first ones. In theory, N processes need 1/N of the time of one.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import machine, note, ratio, small, table
from runs_to_break import NUM_PHOTOS, make_photos

from mae_core.runs.logs import read_metrics

RECIPE = "image/cifar10_tiny"
NUM_WARM = 2


def seconds_of_step(folder: Path, options: argparse.Namespace, overrides: Sequence[str]) -> float:
    """Of one run, which leaves its folder."""
    settings = [
        f"data.image.root={folder.parent / 'photos'}",
        "schedule.warmup_epochs=0",
        f"train.batch_size={options.batch}",
        f"train.device_batch_size={options.batch}",
        f"train.epochs={math.ceil(options.batch * (NUM_WARM + options.steps) / NUM_PHOTOS)}",
        "train.num_workers=0",
        "train.num_pictures=0",
        "train.num_validations=0",
        *(small(RECIPE) if options.tiny else []),
        *overrides,
    ]
    command = [sys.executable, "-m", "mae_core.cli", "pretrain", RECIPE, "--out", str(folder), *settings]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    speeds = [entry["samples_per_s"] for entry in read_metrics(folder / "metrics.jsonl")][NUM_WARM:]
    return options.batch / statistics.median(speeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--strategies", nargs="+", default=["ddp", "fsdp"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    print(machine(), flush=True)
    variants = {"one process": ["train.devices=1"]}
    for strategy in options.strategies:
        name = f"{options.devices} processes, {strategy}"
        variants[name] = [f"train.devices={options.devices}", f"train.strategy={strategy}"]
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as temporary:
        make_photos(Path(temporary) / "photos")
        for turn in range(options.rounds):
            for number, (name, overrides) in enumerate(variants.items()):
                seconds[name].append(seconds_of_step(Path(temporary) / f"run-{turn}-{number}", options, overrides))
    rows = []
    for name, each in seconds.items():
        share, low, high = ratio(seconds["one process"], each)
        told = f"{share:.2f} ({low:.2f} to {high:.2f})"
        rows.append([name, f"{statistics.median(each) * 1e3:.0f}", told])
        if name != "one process":
            note(f"step of {name}", f"{rows[-1][1]} ms", beside=f"{told} of one", goal=f"{1 / options.devices:.2f}")
    print(table(["", "ms of a step", "of one process"], rows))


if __name__ == "__main__":
    main()
