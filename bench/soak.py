"""Many steps of a tiny model with everything on: memory, open files and the time of a step must not grow. Then, a long report.

    python bench/soak.py [--steps 100000] [--intervals 10] [--workers 1] [--lines 500000]

The run has workers, unreadable samples, validations, pictures and checkpoints. At the end of each interval it notes the memory
of its process and of its workers, its open files, and the median time of a step. What grows is judged from the second interval
on: the first one warms up. The second part writes `metrics.jsonl` of many lines, and times the report on it.
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from measuring import machine, note, resident, table
from runs_to_break import NUM_PHOTOS, Silent, load, run_silently, tiny_recipe

from mae_core.runs.report import write_report

STEPS_AN_EPOCH = 7
MIB = 2**20


class Watch(Silent):
    """Notes what the process has at the end of each interval."""

    def __init__(self, num_steps: int, num_intervals: int) -> None:
        self.ends = {num_steps * (i + 1) // num_intervals for i in range(num_intervals)}
        self.times: list[float] = []
        self.last = time.perf_counter()
        self.rows: list[tuple[int, float, float, int, float]] = []
        """(step, MiB of the process, MiB of its workers, open files, milliseconds of a step)."""

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None:
        now = time.perf_counter()
        self.times.append(now - self.last)
        self.last = now
        if step in self.ends:
            workers = [_resident_of(child) for child in _children()]
            files = len(os.listdir("/proc/self/fd"))
            self.rows.append((step, resident() / MIB, sum(workers) / MIB, files, statistics.median(self.times) * 1e3))
            self.times = []
            print(
                "step {:,}: {:.0f} MiB, workers {:.0f} MiB, {} open files, {:.2f} ms a step".format(*self.rows[-1]), flush=True
            )


def _children() -> list[int]:
    return [child for task in Path("/proc/self/task").iterdir() for child in map(int, _read(task / "children").split())]


def _resident_of(process: int) -> int:
    pages = _read(Path(f"/proc/{process}/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _read(path: Path) -> str:
    """Empty where the process or thread has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def soak(num_steps: int, num_intervals: int, num_workers: int) -> Watch:
    epochs = math.ceil(num_steps / STEPS_AN_EPOCH)
    watch = Watch(epochs * STEPS_AN_EPOCH, num_intervals)
    with tempfile.TemporaryDirectory() as temporary:
        recipe = tiny_recipe(Path(temporary), epochs=epochs)
        often = [f"train.checkpoint_steps={max(1, num_steps // 200)}", "train.num_pictures=20", "train.num_validations=50"]
        config = load(recipe, [f"train.num_workers={num_workers}", *often])
        run_silently(config, Path(temporary) / "run", resume=False, display=watch)
    return watch


def growth(watch: Watch) -> list[list[str]]:
    """From the second interval to the last."""
    names = ("memory of the process, MiB", "memory of its workers, MiB", "open files", "median time of a step, ms")
    pairs = zip(names, watch.rows[1][1:], watch.rows[-1][1:], strict=True)
    return [[name, f"{first:.2f}", f"{last:.2f}", f"{last / first - 1:+.1%}" if first else ""] for name, first, last in pairs]


def long_report(num_lines: int) -> list[list[str]]:
    """How long it takes to write a report on so many steps, and how large it is."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.yaml").write_text("task: {name: pretrain}\n")
        chance = random.Random(0)
        with (folder / "metrics.jsonl").open("w") as file:
            for step in range(1, num_lines + 1):
                loss = 1 / math.log(step + 2) + 0.02 * chance.random()
                entry = {
                    "step": step,
                    "epoch": 1 + step // 5000,
                    "loss": loss,
                    "lr": 1e-4,
                    "samples_per_s": 900 + chance.random(),
                }
                file.write(json.dumps({**entry, "grad_norm": chance.random(), "wall_s": round(step * 0.31, 3)}) + "\n")
        before, started = resident(), time.perf_counter()
        report = write_report(folder)
        seconds = time.perf_counter() - started
        size, memory = report.stat().st_size, resident() - before
        return [[f"{num_lines:,}", f"{seconds:.1f} s", f"{size / 1e6:.2f} MB", f"{memory / MIB:.0f} MiB"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="0: none")
    parser.add_argument("--intervals", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--lines", type=int, default=500_000, help="0: none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    if options.steps:
        started = time.monotonic()
        watch = soak(options.steps, options.intervals, options.workers)
        rows = growth(watch)
        print(table([f"{options.steps:,} steps", "second interval", "last interval", "growth"], rows))
        for name, first, last, grown in rows:
            note(f"{options.steps:,} steps: {name}", last, beside=f"{first} before, {grown}", goal="no growth")
        print(f"{NUM_PHOTOS} photographs, {time.monotonic() - started:.0f} s in all", flush=True)
    if options.lines:
        rows = long_report(options.lines)
        print(table(["lines of metrics", "report written in", "its size", "memory that is left"], rows))
        lines, seconds, size, _ = rows[0]
        note(f"report of {lines} lines of metrics", seconds, beside=size)
    sys.exit()


if __name__ == "__main__":
    main()
