"""Runs all benchmarks that fit this machine, and writes one table of them, with what each of them printed below it.

    python bench/run_all.py [speed] [reliability] [gpu] [--out bench.md] [--tiny] [--minutes 60] [--photos FOLDER]

`speed` and `reliability` are for a CPU and the default where there is no GPU; `gpu` is for one H100, within ten minutes.
What would begin after the minutes have passed is left out, and the table says so. --tiny tries everything at the smallest size.
The picture of scaling.py lies beside the table.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measuring import DEVICE, NOTES, machine, table

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Bench:
    """A command of this folder, and the same at the smallest size."""

    full: str
    tiny: str
    seconds: int
    """What it may take; a command that takes longer is ended."""


SPEED = (
    Bench(
        "train_step.py vit-b --batch 8 --rounds 5 --peers mae transformers plain 'plain, default AdamW'",
        "train_step.py vit-b --batch 2 --rounds 2 --tiny --peers mae transformers plain 'plain, default AdamW'",
        900,
    ),
    Bench("train_step.py videomae-b --batch 2 --rounds 3", "train_step.py videomae-b --batch 2 --rounds 2 --tiny", 900),
    Bench("trainer_overhead.py --batch 8 --steps 8", "trainer_overhead.py --batch 2 --steps 4 --tiny", 600),
    Bench("scaling.py --rounds 5 --out {picture}", "scaling.py --rounds 2 --batch 4 --tiny --out {picture}", 600),
    Bench("processes.py", "processes.py --tiny --rounds 1 --steps 2 --strategies ddp", 600),
    Bench("masks.py --rounds 5", "masks.py --rounds 1 --batch 8 --step-batch 1", 600),
    Bench("audio_loading.py --rounds 5", "audio_loading.py --rounds 1 --clips 4", 600),
)
PHOTOS = (Bench("image_loading.py {photos} --rounds 5", "image_loading.py {photos} --rounds 1 --images 8", 600),)
RELIABILITY = (
    Bench("kill_test.py --kills 50", "kill_test.py --kills 2 --epochs 4", 1800),
    Bench("soak.py --steps 100000 --lines 500000", "soak.py --steps 140 --intervals 4 --lines 2000", 3600),
    Bench("fuzz_files.py --files 3000", "fuzz_files.py --files 60", 1800),
)
GPU = (
    Bench(
        "train_step.py vit-b --batch 256 --compile --peers mae transformers 'transformers, compiled' plain",
        "train_step.py vit-b --batch 2 --rounds 2 --tiny",
        150,
    ),
    Bench("train_step.py vit-l --batch 128 --compile", "train_step.py vit-l --batch 2 --rounds 2 --tiny", 120),
    Bench("train_step.py vit-h --batch 64 --compile", "train_step.py vit-h --batch 2 --rounds 2 --tiny", 120),
    Bench("train_step.py videomae-b --batch 32 --compile", "train_step.py videomae-b --batch 2 --rounds 2 --tiny", 120),
    Bench("train_step.py audiomae-b --batch 64 --compile", "train_step.py audiomae-b --batch 2 --rounds 2 --tiny", 90),
    Bench(
        "trainer_overhead.py --batch 256 --steps 20 --compile --workers 12",
        "trainer_overhead.py --batch 2 --steps 4 --tiny",
        90,
    ),
    Bench("scaling.py --rounds 5 --out {picture}", "scaling.py --rounds 2 --batch 4 --tiny --out {picture}", 90),
)
GPU_PHOTOS = (
    Bench(
        "trainer_overhead.py --batch 256 --steps 20 --compile --workers auto --data {data}",
        "trainer_overhead.py --batch 2 --steps 4 --workers 1 --tiny --data {data}",
        90,
    ),
)
PLANS = {"speed": (SPEED, PHOTOS), "reliability": (RELIABILITY, ()), "gpu": (GPU, GPU_PHOTOS)}


def chosen(options: argparse.Namespace) -> list[tuple[list[str], int]]:
    """Commands, and the seconds that each may take."""
    plans = options.plans or (["gpu"] if DEVICE == "cuda" else ["speed", "reliability"])
    found = []
    for plan in plans:
        always, of_photos = PLANS[plan]
        data = f"{{name: image_folder, root: {options.photos}}}"
        for bench in (*always, *(of_photos if options.photos else ())):
            text = bench.tiny if options.tiny else bench.full
            given = {"data": data, "photos": options.photos, "picture": options.out.with_suffix(".png")}
            words = shlex.split(text.format(**{name: shlex.quote(str(value)) for name, value in given.items()}))
            found.append((words, bench.seconds))
    return found


def run(words: Sequence[str], seconds: float, notes: Path) -> tuple[str, str]:
    """What a command printed, and why it failed; empty: it did not."""
    environment = os.environ | {NOTES: str(notes)}
    command = [sys.executable, str(HERE / words[0]), *words[1:]]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return out, f"ended after {seconds:.0f} s"
    return out, "" if process.returncode == 0 else f"exit code {process.returncode}: {(err.strip().splitlines() or [''])[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", nargs="*", metavar="PLAN", help=f"of {', '.join(PLANS)}")
    parser.add_argument("--out", type=Path, default=Path("bench.md"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--minutes", type=float, default=None, help="10 for `gpu`, else 90")
    parser.add_argument("--photos", type=Path, help="photographs in a folder or in shards, for what reads some")
    options = parser.parse_args()
    if unknown := set(options.plans) - set(PLANS):
        parser.error(f"unknown plans: {', '.join(sorted(unknown))}")
    minutes = options.minutes or (10 if DEVICE == "cuda" or "gpu" in options.plans else 90)
    described, began, sections, failed = machine(), time.monotonic(), [], []
    with tempfile.TemporaryDirectory() as temporary:
        notes = Path(temporary) / "notes"
        notes.touch()
        for words, seconds in chosen(options):
            text, left = shlex.join(words), 60 * minutes - (time.monotonic() - began)
            print(f"$ python bench/{text}", flush=True)
            out, problem = (
                run(words, min(seconds, left), notes) if left > 20 else ("", f"left out: {minutes:g} minutes have passed")
            )
            if problem:
                failed.append(problem)
                out += f"\n{problem}"
                with notes.open("a") as file:
                    file.write(json.dumps([text, problem, "", ""]) + "\n")
            print(out, flush=True)
            sections.append(f"`python bench/{text}`\n\n```text\n{out.strip()}\n```\n")
        rows = [json.loads(line) for line in notes.read_text().splitlines()]
    summary = table(["what", "measured", "range, or beside", "goal"], rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(f"Measured on {described}.\n\n{summary}\n\n" + "\n".join(sections))
    print(f"{summary}\n\n{options.out}: {(time.monotonic() - began) / 60:.1f} minutes in all")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
