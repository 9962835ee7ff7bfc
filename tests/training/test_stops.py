"""How runs end before their time, and what they say on the way."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest
from running import assert_same_bits, interrupt_at, run
from tones import register_tones

from mae_core import load_config
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint
from mae_core.runs.lock import is_being_written, run_lock
from mae_core.tasks.pretraining import Pretraining
from mae_core.training.interrupts import Interrupted, interrupts
from mae_core.training.plan import Plan
from mae_registry import MaeError

TONES = ["data.image=null", "data.image={name: tones}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_is_told(tiny_recipe, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="interrupted after step 6 of 12") as caught:
        run(load_config(tiny_recipe, ["train.checkpoint_steps=100"]), tmp_path / "run", on_step=interrupt_at(5, number))
    assert caught.value.signal == number
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step-00000006.pt"]
    assert signal.getsignal(number) is before


@pytest.mark.timeout(60)
def test_a_worker_that_was_stopped_does_not_keep_a_signal_from_saving(tiny_recipe, tmp_path):
    def stop_the_worker(step):
        if step == 2:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGSTOP)
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with pytest.raises(Interrupted):
        run(load_config(tiny_recipe, ["train.num_workers=1", "train.epochs=100"]), tmp_path / "run", on_step=stop_the_worker)
    assert list_checkpoints(tmp_path / "run")


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert interrupted.received == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_is_not_waited_for_but_a_second_hangup_is():
    with interrupts() as interrupted:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        assert interrupted.received == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error"), SystemExit(1)])
def test_where_nobody_watches_any_more_the_run_stops_and_is_saved(tiny_recipe, tmp_path, error):
    def watch(step):
        if step >= 3:
            raise error

    with pytest.raises(Interrupted, match="interrupted after step 4 of 12") as caught:
        run(load_config(tiny_recipe), tmp_path / "run", on_step=watch)
    assert caught.value.signal == signal.SIGPIPE
    assert list_checkpoints(tmp_path / "run")[0].name == "step-00000004.pt"


def test_a_picture_that_cannot_be_written_ends_no_run(tiny_recipe, tmp_path, monkeypatch):
    saved = []

    def fail(self, folder, step):
        saved.append([path.name for path in list_checkpoints(folder)][:1])
        raise ZeroDivisionError("no picture")

    monkeypatch.setattr(Pretraining, "write_pictures", fail)
    said = run(load_config(tiny_recipe, ["train.num_pictures=2", "train.checkpoint_steps=6"]), tmp_path / "run")
    assert any("after step 6" in text and "ZeroDivisionError: no picture" in text for text in said)
    assert saved == [["step-00000006.pt"], ["step-00000012.pt"]]  # before the pictures
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert (tmp_path / "run" / "encoder.safetensors").exists()


def test_the_start_says_what_is_trained_on_what(tiny_recipe, tmp_path):
    register_tones()
    said = run(load_config(tiny_recipe, [*TONES, "train.device_batch_size=4"]), tmp_path / "run")[0]
    for part in ("image (24 samples)", "tone 0", "CPU", "32-true", "trainable parameters", "12 of 8 samples, 4 at once"):
        assert part in said


def test_bad_samples_are_told_once_when_met_and_once_at_the_end(tiny_recipe, tmp_path):
    register_tones()
    config = load_config(tiny_recipe, [*TONES, "data.image.bad=[3, 7]", "train.max_bad_share=0.5"])
    said = run(config, tmp_path / "run")
    first, last = [text for text in said if "could not be read" in text]
    assert first.startswith(("tone 3 ", "tone 7 "))
    assert "bad_samples.jsonl" in first
    assert "bad_samples.jsonl" in last
    assert last.startswith(str(len((tmp_path / "run" / "bad_samples.jsonl").read_text().splitlines())))


def test_a_crash_at_a_sample_is_as_if_it_could_not_be_read(tiny_recipe, tmp_path):
    register_tones()
    weights, listed = [], []
    for how in ("bad", "fatal"):
        keys = [*TONES, f"data.image.{how}=[5]", "train.num_workers=2", "train.max_bad_share=0.5"]
        run(load_config(tiny_recipe, keys), tmp_path / how)
        lines = (tmp_path / how / "bad_samples.jsonl").read_text().splitlines()
        listed.append([{**json.loads(line), "reason": ""} for line in lines])
        weights.append(load_checkpoint(list_checkpoints(tmp_path / how)[0]).model)
    assert listed[0] == listed[1]
    assert "the worker that read it ended by signal 11" in lines[0]
    assert_same_bits(*weights)


def test_what_ends_a_run_in_the_middle_keeps_what_was_learned(tiny_recipe, tmp_path):
    """A mistake in a data set, met in the third step."""
    register_tones()
    number = Plan({"image": 24}, batch_size=8, num_epochs=4, seed=3).keys(2)[0].sample
    config = load_config(tiny_recipe, [*TONES, f"data.image.mistakes=[{number}]", "train.checkpoint_steps=100"])
    with pytest.raises(MaeError, match=rf"step 3: data\.image: sample tone {number} .* are in \S+step-00000002\.pt$"):
        run(config, tmp_path / "run")
    assert len(list_checkpoints(tmp_path / "run")) == 1


def test_half_written_files_are_removed_on_resume(tiny_recipe, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(load_config(tiny_recipe), folder, on_step=interrupt_at(2))
    (folder / "pictures").mkdir(exist_ok=True)
    halves = [folder / name for name in ("checkpoints/.step-4.pt.x7", ".report.html.f3", "pictures/.step-4.png.a")]
    for half in halves:
        half.write_bytes(b"half")
    run(load_config(tiny_recipe), folder, resume=True)
    assert [half for half in halves if half.exists()] == []
    assert (folder / ".lock").exists()


def test_a_process_that_outlives_a_killed_run_does_not_hold_its_folder(tmp_path):
    script = f"""
import multiprocessing, os, signal, sys, time
from pathlib import Path
from mae_core.runs.lock import run_lock
def outlive():
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
with run_lock(Path({str(tmp_path)!r})):
    multiprocessing.get_context("fork").Process(target=outlive).start()
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        worker = int(killed.stdout.readline())
        try:
            assert is_being_written(tmp_path)
            killed.wait(timeout=20)
            assert not is_being_written(tmp_path)
            with run_lock(tmp_path):
                assert is_being_written(tmp_path)
        finally:
            os.kill(worker, signal.SIGKILL)
