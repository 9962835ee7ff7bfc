"""torchrun's elastic launcher: of two groups of processes one is killed, and the job goes on with the other."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mae_core.runs.logs import read_metrics

STEPS = ["train.epochs=200", "train.checkpoint_steps=50", "train.num_pictures=0"]
PATIENCE = 200


@pytest.mark.slow
def test_what_is_left_takes_every_sample_as_if_nothing_had_happened(tiny_recipe, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = tmp_path / "run"
    groups = [start(port, "pretrain", tiny_recipe, *STEPS, "--out", run, is_host=is_host) for is_host in (1, 0)]
    deadline = time.monotonic() + PATIENCE
    while len(read_metrics(run / "metrics.jsonl")) < 120 and time.monotonic() < deadline:
        time.sleep(0.2)
    workers = Path(f"/proc/{groups[1].pid}/task/{groups[1].pid}/children").read_text().split()
    for number in (groups[1].pid, *map(int, workers)):
        os.kill(number, signal.SIGKILL)
    groups[1].communicate()
    _, text = groups[0].communicate(timeout=PATIENCE)
    assert groups[0].returncode == 0, text
    alone = [sys.executable, "-m", "mae_core.cli", "pretrain", str(tiny_recipe), *STEPS, "--out", str(tmp_path / "alone")]
    subprocess.run(alone, check=True, capture_output=True)
    losses = [[entry["loss"] for entry in read_metrics(folder / "metrics.jsonl")] for folder in (run, tmp_path / "alone")]
    assert len(losses[0]) == 600
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def start(port, *words, is_host):
    """One group, in a session of its own."""
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", f"localhost:{port}"]
    rendezvous += ["--rdzv-conf", f"last_call_timeout=2,is_host={is_host}"]
    groups = ["--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "3"]
    command = [sys.executable, "-m", "torch.distributed.run", *groups, *rendezvous, "-m", "mae_core.cli", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
