"""Starting a run's processes, one for each device, and watching over them. Imports torch only where it is needed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mae_core.training.interrupts import SIGNALS
from mae_registry import ConfigError, MaeError

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage] - public all the same

    from mae_core.training.settings import TrainSettings

GRACE = 15.0
"""Seconds that the other processes have to end when one of them has failed."""
FAILURE = "failure"
"""The key under which a run's processes find why it ends."""


@dataclass(frozen=True)
class Place:
    """Which of a run's processes this is."""

    rank: int
    num_processes: int
    num_local: int
    """The processes on this machine."""
    by: str
    """What started them."""


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process among those that torchrun, SLURM's srun or `mae` itself started; None where it was started alone."""
    if {"RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"} <= environment.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return Place(*(int(environment[name]) for name in names), by="torchrun")
    if "SLURM_STEP_ID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        num_processes, num_nodes = int(environment["SLURM_NTASKS"]), int(environment["SLURM_NNODES"])
        return Place(int(environment["SLURM_PROCID"]), num_processes, num_processes // num_nodes, by="srun")
    return None


def count_cores(environment: Mapping[str, str] = os.environ) -> int:
    """The cores that this process may count on: its share of those that it and the other processes of this machine have."""
    found, allowed = place(environment), _allowed_cores()
    if found is None:
        return allowed
    # torchrun and `mae` leave all processes the same cores; srun may have given each some of its own
    in_step = int(environment.get("SLURM_CPUS_ON_NODE", os.cpu_count() or 1))
    if found.by == "srun" and allowed <= in_step // found.num_local:
        return allowed
    return max(1, allowed // found.num_local)


def _allowed_cores() -> int:
    """Those of this machine; fewer where a scheduler or a container leaves this process fewer."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def is_first() -> bool:
    """Whether this process speaks for the run."""
    found = place()
    return found is None or found.rank == 0


def notes_of(store: "Store") -> "Store":
    """What processes leave for each other where they met. The store of torchrun outlives a restart, and these notes do not."""
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage] - public all the same

    return PrefixStore(f"mae/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def count_devices(settings: "TrainSettings") -> tuple[int, int]:
    """Devices of each machine, and machines. Raises ConfigError where the recipe and the launcher disagree."""
    found = place()
    devices, nodes = settings.devices, settings.nodes
    if found is None:
        if nodes not in ("auto", 1):
            raise ConfigError(
                f"train.nodes={nodes}: start the run on every machine, with torchrun or srun; docs/many-devices.md has the "
                "commands"
            )
        return (_all_devices(settings) if devices == "auto" else devices), 1
    local, machines = found.num_local, found.num_processes // found.num_local
    if devices not in ("auto", local) or nodes not in ("auto", machines):
        raise ConfigError(
            f"{found.by} started {found.num_processes} processes, {local} on each of {machines} machines, but the recipe has "
            f"train.devices={devices} and train.nodes={nodes}; leave both out, or start as many"
        )
    return local, machines


def _all_devices(settings: "TrainSettings") -> int:
    import torch

    return 1 if settings.device == "cpu" else max(1, torch.cuda.device_count())


def supervise(num_processes: int, command: Sequence[str] | None = None) -> int:
    """Run this program once for each device, and wait. Returns the exit code: 0, or that of the first one that failed.

    No process outlives another that failed by more than `GRACE` seconds. Signals are passed on.
    """
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage] - public all the same

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    command = command or _own_command()
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # else the first process would open a store of its own
        "TORCHELASTIC_RUN_ID": "mae",
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "GROUP_RANK": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, _allowed_cores() // num_processes))),
    }
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_processes))
    # in sessions of their own, so that Ctrl-C reaches them once, from here
    processes = [subprocess.Popen(command, env={**os.environ, **shared, **own}, start_new_session=True) for own in ranks]
    try:
        with _passing_on(processes):
            return _wait(processes, notes_of(store))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _own_command() -> list[str]:
    started = ["-m", "mae_core.cli"] if Path(sys.argv[0]).name == "__main__.py" else [sys.argv[0]]
    return [sys.executable, *started, *sys.argv[1:]]


@contextmanager
def _passing_on(processes: Sequence["subprocess.Popen[bytes]"]) -> Generator[None]:
    """Signals to this process reach those that it started."""

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, pass_on) for number in heeded}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(processes: Sequence["subprocess.Popen[bytes]"], store: "Store") -> int:
    first, news, deadline = 0, "", float("inf")
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if first == 0 and (failed := [(code, rank) for rank, code in enumerate(codes) if code]):
            first, rank = failed[0]
            news = _tell_of_signal(rank, -first, store) if first < 0 else ""
            deadline = time.monotonic() + GRACE
        if None not in codes:
            break
        time.sleep(0.05)
    if news:
        raise MaeError(f"{news}; go on from the last checkpoint with --resume")
    return 1 if first < 0 else first


def _tell_of_signal(rank: int, number: int, store: "Store") -> str:
    """Say what ended a process before the others find out by themselves; empty: they have."""
    text = f"process {rank} of the run was ended by {signal.Signals(number).name}, "
    text += "as the system does when memory runs out" if number == signal.SIGKILL else "as when a library crashes"
    return text if store.compare_set(FAILURE, "", text).decode() == text else ""
