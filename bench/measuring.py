"""What the benchmarks share: variants that take turns, medians, tables, peaks of memory, and a line about the machine."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NOTES = "MAE_BENCH_NOTES"
"""The environment variable that names the file for `note`."""
SMALL = {
    "image": ["model.modalities.{entry}.tokenizer.input_size=[32, 32]", "model.modalities.{entry}.tokenizer.patch_size=[8, 8]"],
    "video": [
        "model.modalities.{entry}.tokenizer.input_size=[4, 32, 32]",
        "model.modalities.{entry}.tokenizer.patch_size=[2, 8, 8]",
    ],
    "audio": ["model.modalities.{entry}.tokenizer.input_size=[128, 64]"],
}
"""What makes samples small, by the first word of a recipe's name."""


def machine() -> str:
    """Processor, cores, memory and accelerator, with the versions that matter, on one line."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    parts = [names[0] if names else platform.machine(), f"{cores} cores, {torch.get_num_threads()} used", f"{memory:.0f} GiB"]
    if DEVICE == "cuda":
        parts += [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]
    load = os.getloadavg()[0]
    return ", ".join([*parts, f"torch {torch.__version__}", f"Python {platform.python_version()}", f"load {load:.1f}"])


def small(recipe: str) -> list[str]:
    """Overrides that make a recipe's model tiny, to try a benchmark."""
    entry = recipe.partition("/")[0]
    sizes = ["model.encoder.width=48", "model.encoder.depth=2", "model.encoder.heads=3"]
    decoder = [f"model.modalities.{entry}.decoder.{key}" for key in ("width=32", "depth=2", "heads=2")]
    return [*sizes, *decoder, *(text.format(entry=entry) for text in SMALL[entry])]


def wait() -> None:
    """Until the device has done everything that it was asked to do."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def take_turns(
    variants: Mapping[str, Callable[[], object]],
    *,
    num_rounds: int,
    num_warm: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each variant in each round. They take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(num_warm + num_rounds):
        for name, run in variants.items():
            wait()
            started = clock()
            run()
            wait()
            if turn >= num_warm:
                seconds[name].append(clock() - started)
    return seconds


def ratio(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """The median of `others` / `ones` round by round, with the lowest and the highest: how many times as fast `ones` are."""
    ratios = [other / one for one, other in zip(ones, others, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """In Markdown, with its columns aligned."""
    cells = [[str(cell) for cell in row] for row in [names, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def note(what: str, value: object, *, beside: str = "", goal: str = "") -> None:
    """A row of the table that run_all.py makes of all benchmarks: `beside` compares the value with another one's."""
    if path := os.environ.get(NOTES):
        with open(path, "a") as file:
            file.write(json.dumps([what, str(value), beside, goal]) + "\n")


def resident() -> int:
    """Bytes of memory that this process has now."""
    return _status("VmRSS")


def peak_above(run: Callable[[], object]) -> int:
    """Bytes that `run` needs at most, beyond what this process has when it begins; on a GPU, of the GPU's memory.

    To be called in a process of its own: what an allocator keeps of earlier work would be missing.
    """
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        wait()
        return torch.cuda.max_memory_allocated() - before
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    run()
    return _status("VmHWM") - before


def in_own_process(script: str, *words: object) -> str:
    """The last line that a script of this folder prints."""
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _status(name: str) -> int:
    (line,) = (line for line in _lines("/proc/self/status") if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
