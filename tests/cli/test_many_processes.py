"""`mae pretrain` with several processes, as a user starts it: however one of them ends, all end, with one message."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics

MAE = [sys.executable, "-m", "mae_core.cli"]
LONG = ["train.devices=2", "train.epochs=5000", "train.checkpoint_steps=auto", "train.num_pictures=0"]
PATIENCE = 120


@pytest.fixture
def started(tiny_recipe, tmp_path):
    """A run of two processes that has taken some steps: the process that a user sees, and those that train."""
    command = [*MAE, "pretrain", str(tiny_recipe), *LONG, "--out", str(tmp_path / "run")]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + PATIENCE
    while len(read_metrics(tmp_path / "run" / "metrics.jsonl")) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    yield first, [int(child) for child in children]
    first.kill()
    first.wait()


def ended(process):
    """What it wrote to standard error, and its exit code."""
    _, text = process.communicate(timeout=PATIENCE)
    return text, process.returncode


def test_a_killed_process_ends_the_run_with_one_message(started):
    """The one that writes, of all; tests/training/test_launch.py kills another."""
    first, processes = started
    os.kill(processes[0], signal.SIGKILL)
    text, code = ended(first)
    assert code == 1
    assert text.count("error:") == 1
    assert "process 0 of the run was ended by SIGKILL" in text
    assert "--resume" in text
    assert "Traceback" not in text


def test_a_signal_saves_once(started, tmp_path):
    first, _ = started
    first.send_signal(signal.SIGTERM)
    text, code = ended(first)
    assert code == 128 + signal.SIGTERM
    assert text.count("interrupted after step") == text.count("--resume") == 1
    checkpoint = load_newest(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.step == len(read_metrics(tmp_path / "run" / "metrics.jsonl"))


def test_an_error_in_one_process_is_told_once(tiny_recipe, tmp_path):
    plugin = tmp_path / "failing.py"
    plugin.write_text(FAILING)
    data = ["data.image=null", "data.image={name: failing}"]
    command = [*MAE, "--plugin", str(plugin), "pretrain", str(tiny_recipe), *data, *LONG, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert done.stderr.count("error:") == 1
    assert "this disk is broken" in done.stderr
    assert "Traceback" not in done.stderr


FAILING = '''
"""A dataset that fails in the second process."""
import os

import torch

from mae_core.interfaces import Dataset
from mae_registry import hookimpl

MAE_API = 1


class Failing(Dataset):
    def __init__(self, sample_shape):
        self.shape = sample_shape

    def __len__(self):
        return 64

    def load(self, index, *, random):
        if os.environ["RANK"] == "1" and random.random() < 0.1:
            raise OSError("this disk is broken")
        return torch.full(self.shape, random.random())

    def read(self, index):
        return torch.zeros(self.shape)

    def describe(self, index):
        return str(index)

    def previews(self, count):
        return []


@hookimpl
def register_datasets(register):
    register("failing", "failing:Failing")
'''
