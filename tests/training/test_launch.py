"""Which process of a run this is, and starting one for each device."""

import signal
import sys
import threading
import time

import pytest

from mae_core.training import launch
from mae_core.training.launch import Place, count_cores, count_devices, place, supervise
from mae_core.training.settings import TrainSettings
from mae_core.training.stream import Samples, make_loader
from mae_registry import ConfigError, MaeError

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5"}


def test_a_process_knows_its_place():
    assert place({}) is None
    assert place(TORCHRUN) == Place(5, 8, 4, by="torchrun")
    assert place({**SLURM, "SLURM_STEP_ID": "0"}) == Place(5, 8, 4, by="srun")


def test_a_shell_in_a_job_is_not_one_of_its_tasks():
    """Neither that of a batch script, which no srun has started, nor an interactive one."""
    assert place(SLURM) is None
    assert place({**SLURM, "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "bash"}) is None


@pytest.mark.parametrize(("devices", "nodes"), [("auto", "auto"), (4, "auto"), (4, 2)])
def test_devices_follow_from_what_was_started(monkeypatch, devices, nodes):
    monkeypatch.setattr(launch, "place", lambda: Place(5, 8, 4, by="torchrun"))
    assert count_devices(TrainSettings(epochs=1, batch_size=8, devices=devices, nodes=nodes)) == (4, 2)


@pytest.mark.parametrize(("devices", "nodes"), [(8, "auto"), (4, 1)])
def test_devices_that_were_not_started_are_refused(monkeypatch, devices, nodes):
    monkeypatch.setattr(launch, "place", lambda: Place(5, 8, 4, by="torchrun"))
    with pytest.raises(ConfigError, match=rf"torchrun started 8 processes, 4 on each of 2 .*train\.devices={devices}"):
        count_devices(TrainSettings(epochs=1, batch_size=8, devices=devices, nodes=nodes))


def test_several_machines_need_a_launcher():
    with pytest.raises(ConfigError, match=r"train\.nodes=2: start the run on every machine, with torchrun or srun"):
        count_devices(TrainSettings(epochs=1, batch_size=8, nodes=2))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine that has fewer
def test_workers_are_divided_among_the_processes_of_a_machine(monkeypatch):
    counts = []
    for cores in (16, 4, 1):
        monkeypatch.setattr("mae_core.training.stream.count_cores", lambda cores=cores: cores)
        counts.append(make_loader(Samples({}, 0), [[]] * 99, num_workers="auto", pin_memory=False).torch.num_workers)
    assert counts == [12, 3, 1]


STEP = {**SLURM, "SLURM_STEP_ID": "0"}  # four processes on this machine, as TORCHRUN has


@pytest.mark.parametrize(
    ("environment", "allowed", "expected"),
    [
        ({}, 8, 8),
        (TORCHRUN, 64, 16),
        (TORCHRUN, 8, 2),  # in a cpuset, which all share
        (TORCHRUN, 3, 1),
        ({**STEP, "SLURM_CPUS_ON_NODE": "8"}, 8, 2),  # not bound, in a job with a part of the machine
        ({**STEP, "SLURM_CPUS_ON_NODE": "8"}, 2, 2),  # bound to cores of its own
        ({**STEP, "SLURM_CPUS_ON_NODE": "64"}, 1, 1),
        (STEP, 64, 16),
        (STEP, 16, 16),
    ],
)
def test_cores_are_divided_among_the_processes_that_share_them(monkeypatch, environment, allowed, expected):
    monkeypatch.setattr("mae_core.training.launch.sys.platform", "linux")
    monkeypatch.setattr("mae_core.training.launch.os.cpu_count", lambda: 64)
    monkeypatch.setattr("mae_core.training.launch.os.sched_getaffinity", lambda _: range(allowed), raising=False)
    assert count_cores(environment) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bind no processes to cores")
def test_threads_are_divided_among_the_cores_that_are_allowed(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("mae_core.training.launch.os.cpu_count", lambda: 64)
    monkeypatch.setattr("mae_core.training.launch.os.sched_getaffinity", lambda _: range(6))
    assert started(f"open({str(tmp_path)!r} + f'/{{rank}}', 'w').write(os.environ['OMP_NUM_THREADS'])") == 0
    assert {path.read_text() for path in tmp_path.iterdir()} == {"3"}


def started(code, number=2):
    return supervise(number, [sys.executable, "-c", f"import os, signal, sys, time; rank = int(os.environ['RANK'])\n{code}"])


def test_the_exit_code_is_that_of_the_first_that_failed():
    assert started("pass") == 0
    assert started("time.sleep(rank * 0.5); sys.exit(3 + rank)") == 3


def test_what_outlives_another_that_failed_is_ended(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.5)
    begun = time.monotonic()
    assert started("sys.exit(7) if rank else time.sleep(100)") == 7
    assert time.monotonic() - begun < 50


def test_a_process_that_a_signal_ended_is_told():
    with pytest.raises(MaeError, match=r"process 1 of the run was ended by SIGKILL, .*--resume"):
        started("os.kill(os.getpid(), signal.SIGKILL) if rank else time.sleep(1)")


def test_signals_are_passed_on_once():
    threading.Timer(3, signal.raise_signal, (signal.SIGTERM,)).start()
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(40))\nfor _ in range(600): time.sleep(0.1)"
    assert started(code) == 40
