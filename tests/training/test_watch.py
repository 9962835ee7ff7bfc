"""Processes that watch each other, with all waiting made short."""

import os
import signal

import pytest
from ranks import on_ranks
from torch import distributed

from mae_core.training import watch
from mae_core.training.settings import TrainSettings
from mae_core.training.world import World
from mae_registry import MaeError


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, seconds in {"BEAT": 0.1, "SILENCE": 2.0, "NEWS": 0.5, "PARTING": 0.5}.items():
        monkeypatch.setattr(watch, name, seconds)


def ended(function):
    """How a process ends that calls `function` together with another one."""
    try:
        with World.join(TrainSettings(epochs=1, batch_size=2)).together():
            function(int(os.environ["RANK"]))
    except SystemExit as error:
        return f"silent {error.code}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def wait_for_all(rank):
    distributed.barrier()


def fail_second(rank):
    if rank == 1:
        raise MaeError("no disk")
    distributed.barrier()


def fail_all(rank):
    raise MaeError("the loss is nan")


def test_processes_that_all_do_well():
    assert on_ranks(2, lambda: ended(wait_for_all)) == ["done", "done"]


def test_an_error_in_one_is_told_by_it_alone():
    assert on_ranks(2, lambda: ended(fail_second)) == ["silent 1", "MaeError: no disk"]


def test_an_error_in_all_is_told_by_one():
    assert sorted(on_ranks(3, lambda: ended(fail_all))) == ["MaeError: the loss is nan", "silent 1", "silent 1"]


def test_a_process_that_hangs_ends_the_others(capfd):
    def hang(rank):
        if rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        distributed.barrier()

    with pytest.raises(AssertionError, match="ended without an answer"):
        on_ranks(2, lambda: ended(hang), patience=10)
    assert capfd.readouterr().err.count("process 1 of the run does not answer any more") == 1
