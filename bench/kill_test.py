"""Kills a run at random moments, resumes it each time, and compares what comes out with a run that nobody disturbed.

    python bench/kill_test.py [--kills 50] [--workers 0 1 2] [--seed 0] [--fresh] [KEY=VALUE ...]

SIGKILL, which no process can see coming. Every third kill waits for a checkpoint to be half written; the others come after a
random time. Half of them hit all processes of the run, the others its main process alone. In the end, weights, optimizer and
metrics have to be the same bits (times apart), the list of unreadable samples the same, and no process may be left.

Runs are forks of this process, which has imported everything already. With --fresh each is a new `mae pretrain`, as a user
starts it, which takes some seconds more for each kill. It is needed for several devices: --fresh train.devices=2.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from measuring import machine, note, table
from runs_to_break import load, run_silently, tiny_recipe

from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_json_lines

TIMES = ("wall_s", "samples_per_s")
"""The only numbers of a run that may differ."""
PATIENCE = 60.0
"""Seconds in which every process of a killed run has to be gone."""


@dataclass
class Count:
    """What happened to the runs of one setting."""

    kills: int = 0
    in_writing: int = 0
    before_start: int = 0
    runs: int = 0
    killed: list[int] = field(default_factory=list)
    """Main processes, which are the numbers of their sessions too."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    recipe: Path
    overrides: Sequence[str]
    fresh: bool
    log: Path
    """What the runs say."""

    def start(self, folder: Path) -> int:
        """Begins the run in this folder, or goes on with it, in a session of its own. Returns the main process."""
        resume = (folder / "config.yaml").exists()
        with self.log.open("a") as log:
            if self.fresh:
                words = [sys.executable, "-m", "mae_core.cli", "pretrain", str(self.recipe), *self.overrides]
                words += ["--out", str(folder), *["--resume"] * resume]
                return subprocess.Popen(words, stderr=log, stdout=log, start_new_session=True).pid
            if process := os.fork():
                return process
            os.setsid()
            os.dup2(log.fileno(), sys.stderr.fileno())
            os._exit(self._run(folder, resume=resume))

    def _run(self, folder: Path, *, resume: bool) -> int:
        warnings.simplefilter("ignore")  # that there is no checkpoint yet
        try:
            run_silently(load(self.recipe, list(self.overrides)), folder, resume=resume)
        except BaseException:
            traceback.print_exc()
            return 1
        return 0


def members(sessions: Sequence[int]) -> list[int]:
    """The processes that belong to these sessions, and are not yet done."""
    found, wanted = [], set(sessions)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(session) in wanted and state != "Z":
            found.append(int(path.parent.name))
    return found


def is_writing(folder: Path) -> bool:
    """Whether a checkpoint is half written."""
    return any((folder / "checkpoints").glob(".step-*"))


def ended(process: int) -> int | None:
    """The exit code, None while it runs."""
    done, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def kill_once(setting: Setting, folder: Path, chance: random.Random, count: Count, *, longest: float) -> int | None:
    """Runs the next session until the moment comes. Returns the exit code where it ended before that."""
    process = setting.start(folder)
    aims_at_writing = count.kills % 3 == 2
    moment = time.monotonic() + chance.uniform(0, longest)
    while time.monotonic() < moment or (aims_at_writing and not is_writing(folder)):
        if (code := ended(process)) is not None:
            return code
        time.sleep(0.0005)
    everyone = chance.random() < 0.5
    for member in {process, *(members([process]) if everyone else [])}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    os.waitpid(process, 0)
    count.kills += 1
    count.in_writing += is_writing(folder)
    count.before_start += not (folder / "config.yaml").exists()
    count.killed.append(process)
    if setting.fresh:  # one of several main processes may have survived, and then the folder is still its own
        _wait_until_gone(count)
    return None


def _wait_until_gone(count: Count) -> None:
    """Workers find out by themselves that nobody needs them any more; the next session does not wait for that."""
    until = time.monotonic() + PATIENCE
    while left := members(count.killed):
        if time.monotonic() > until:
            count.problems.append(f"{len(left)} processes of killed runs were left after {PATIENCE:.0f} s")
            for member in left:
                os.kill(member, signal.SIGKILL)
            return
        time.sleep(0.1)


def to_the_end(setting: Setting, folder: Path) -> int:
    """Lets the run go on undisturbed. Returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(setting.start(folder), 0)[1])


def test(setting: Setting, place: Path, *, num_kills: int, seed: int) -> Count:
    """Kills runs of one setting, as many as there have to be, and compares each that ends."""
    count, chance = Count(), random.Random(seed)
    started = time.monotonic()
    if to_the_end(setting, place / "undisturbed"):
        count.problems.append("the undisturbed run failed")
        return count
    longest = 0.5 * (time.monotonic() - started)
    folder = place / "killed"
    while count.kills < num_kills or folder.exists():
        code = (
            kill_once(setting, folder, chance, count, longest=longest)
            if count.kills < num_kills
            else to_the_end(setting, folder)
        )
        if code is None:
            continue
        count.runs += 1
        what = [f"a resumed run ended with exit code {code}"] if code else differences(place / "undisturbed", folder)
        count.problems += what
        shutil.rmtree(folder)
    _wait_until_gone(count)
    return count


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same in the folders of two runs."""
    first, second = load_newest(one), load_newest(other)
    assert first is not None
    assert second is not None
    checks: dict[str, Callable[[], bool]] = {
        "weights": lambda: _same(first.model, second.model),
        "what training goes on with": lambda: _same(first.training, second.training),
        "metrics": lambda: _metrics(one) == _metrics(other),
        "unreadable samples": lambda: _bad(one) == _bad(other),
        "encoder.safetensors": lambda: (
            (one / "encoder.safetensors").read_bytes() == (other / "encoder.safetensors").read_bytes()
        ),
    }
    return [f"not the same: {name}" for name, check in checks.items() if not check()]


def _metrics(folder: Path) -> list[dict[str, object]]:
    entries = read_json_lines(folder / "metrics.jsonl")
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries]


def _bad(folder: Path) -> list[object]:
    return list(read_json_lines(folder / "bad_samples.jsonl"))


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return one == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--kills", type=int, default=50, help="of each number of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20, help="of the run; each has 7 steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="a new `mae pretrain` each time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(), flush=True)
    rows, problems = [], []
    for num_workers in options.workers:
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            recipe = tiny_recipe(place, epochs=options.epochs)
            setting = Setting(
                recipe, [f"train.num_workers={num_workers}", *options.overrides], options.fresh, place / "log.txt"
            )
            started = time.monotonic()
            count = test(setting, place, num_kills=options.kills, seed=options.seed + num_workers)
            problems += count.problems
            if count.problems:
                print(*setting.log.read_text().splitlines()[-30:], sep="\n")
            result = "; ".join(dict.fromkeys(count.problems)) or "same bits"
            seconds = time.monotonic() - started
            what = f"{count.kills} kills with {num_workers} workers, {count.in_writing} of them in a checkpoint"
            note(what, result, goal="same bits")
            rows.append(
                [num_workers, count.kills, count.in_writing, count.before_start, count.runs, result, f"{seconds:.0f} s"]
            )
    names = ["workers", "kills", "in writing a checkpoint", "before the run began", "runs that ended", "result", "took"]
    print(table(names, rows))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
