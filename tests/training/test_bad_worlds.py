"""What happens to a run where the world around it fails: disks, folders, files and clocks."""

import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from running import assert_same_bits, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mae_core import load_config
from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, load_newest, save_checkpoint
from mae_core.runs.logs import MetricLog, read_metrics
from mae_core.tasks.pretraining import Pretraining
from mae_registry import MaeError


def weights(folder):
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    return checkpoint.model


def at(wanted, do):
    """What a run does after a step."""

    def on_step(step):
        if step == wanted:
            do()

    return on_step


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_folder_that_is_taken_away_ends_the_run_which_writes_nothing_more(tiny_recipe, tmp_path, replaced):
    folder = tmp_path / "run"

    def take_away():
        shutil.rmtree(folder)
        if replaced:
            folder.mkdir()
            (folder / ".lock").touch()

    with pytest.raises(MaeError, match="was deleted, moved or replaced while a run was at work in it"):
        run(load_config(tiny_recipe), folder, on_step=at(5, take_away))
    assert [path.name for path in folder.glob("*")] == ([".lock"] if replaced else [])


def test_a_run_that_was_moved_goes_on_from_its_new_place(tiny_recipe, tmp_path):
    folder, moved = tmp_path / "run", tmp_path / "moved"
    run(load_config(tiny_recipe), tmp_path / "undisturbed")
    with pytest.raises(MaeError, match="if it was moved, go on from its new place with --resume"):
        run(load_config(tiny_recipe), folder, on_step=at(5, lambda: folder.rename(moved)))
    run(load_config(tiny_recipe), moved, resume=True)
    assert_same_bits(weights(moved), weights(tmp_path / "undisturbed"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")], ids=str)
def test_a_disk_that_takes_nothing_more_ends_the_run_and_what_is_there_stays_whole(tiny_recipe, tmp_path, monkeypatch, error):
    folder = tmp_path / "run"
    run(load_config(tiny_recipe), tmp_path / "undisturbed")

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        broken = at(5, lambda: patch.setattr(tempfile, "NamedTemporaryFile", fail))
        with pytest.raises(MaeError, match=rf"cannot write \S+step-00000006\.pt: {error.strerror}"):
            run(load_config(tiny_recipe), folder, on_step=broken)
    assert [path.name for path in list_checkpoints(folder)] == ["step-00000004.pt", "step-00000002.pt"]
    run(load_config(tiny_recipe), folder, resume=True)
    assert_same_bits(weights(folder), weights(tmp_path / "undisturbed"))


@pytest.mark.parametrize("tenth", range(10))
def test_a_checkpoint_that_is_cut_anywhere_is_passed_over(tmp_path, tenth):
    for step in (1, 2):
        model = {"weight": torch.full((4096,), float(step)), "bias": torch.zeros(3)}
        save_checkpoint(tmp_path, Checkpoint(step, "", model, {"optimizer": {"state": {0: torch.ones(100)}}}, {}), keep=2)
    newest = list_checkpoints(tmp_path)[0]
    os.truncate(newest, newest.stat().st_size * tenth // 10)
    with pytest.warns(UserWarning, match=r"skipped a damaged checkpoint: .*step-00000002\.pt"):
        found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1


def checkpoint_of(step):
    return Checkpoint(step, "", {"weight": torch.zeros(3)}, {"optimizer": {"state": {0: torch.zeros(2**20)}}}, {})


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_of_a_later_step_is_not_among_those_that_are_kept(tmp_path, keep):
    for step in (9, 10, 12):
        save_checkpoint(tmp_path, checkpoint_of(step), keep=2)
    os.truncate(list_checkpoints(tmp_path)[0], 100)
    (tmp_path / "checkpoints/step-00000011.parts").mkdir()  # of the same step, from a run on other devices
    save_checkpoint(tmp_path, checkpoint_of(11), keep=keep)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000011.pt", "step-00000010.pt"][:keep]


def test_what_keeps_a_checkpoint_from_being_written_is_said_as_it_is(tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(MaeError, match=r"cannot write \S+step-00000001\.pt: File too large; ") as raised:
            save_checkpoint(tmp_path, checkpoint_of(1), keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "free" not in str(raised.value)
    assert not list((tmp_path / "checkpoints").iterdir())

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(MaeError, match=r": No space left on device\. It needs about 4 MiB, and [\d,]+ MiB are free"):
            save_checkpoint(tmp_path, checkpoint_of(1), keep=2)
        patch.setattr(shutil, "disk_usage", lambda _: (tmp_path / "gone").stat())
        with pytest.raises(MaeError, match=r": No space left on device; make room"):
            save_checkpoint(tmp_path, checkpoint_of(1), keep=2)


def test_an_old_checkpoint_that_cannot_be_deleted_is_named(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint_of(1), keep=1)

    def fail(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(MaeError, match=r"cannot delete \S+step-00000001\.pt: Operation not permitted"):
            save_checkpoint(tmp_path, checkpoint_of(2), keep=1)
    assert len(list_checkpoints(tmp_path)) == 2


def test_a_clock_that_is_set_back_mixes_up_no_numbers(tmp_path, monkeypatch):
    with MetricLog(tmp_path, print) as log:
        for step in range(1, 6):
            log.log(step, loss=float(step))
    monkeypatch.setattr("mae_core.runs.logs.time.time_ns", lambda: 7)
    monkeypatch.setattr("mae_core.runs.logs.time.time", lambda: 7e-9)
    with MetricLog(tmp_path, print, from_step=3) as log:
        log.log(4, loss=4.5)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 3), (4, 4.5)]
    assert [entry["loss"] for entry in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4.5]


def test_a_clock_that_jumps_in_the_middle_of_a_run_changes_nothing(tiny_recipe, tmp_path, monkeypatch):
    run(load_config(tiny_recipe), tmp_path / "undisturbed")
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        jumps = at(3, lambda: patch.setattr("time.time", lambda: 0.0))
        run(load_config(tiny_recipe), folder, on_step=jumps)
    assert_same_bits(weights(folder), weights(tmp_path / "undisturbed"))
    entries = read_metrics(folder / "metrics.jsonl")
    assert all(entry["samples_per_s"] > 0 for entry in entries)
    assert [entry["wall_s"] for entry in entries] == sorted(entry["wall_s"] for entry in entries)


def test_memory_that_is_not_sufficient_names_what_to_lower(tiny_recipe, tmp_path, monkeypatch):
    true_losses = Pretraining.losses

    def losses(self, forward, batch, inputs, weights):
        if len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return true_losses(self, forward, batch, inputs, weights)

    monkeypatch.setattr(Pretraining, "losses", losses)
    with pytest.raises(MaeError, match=r"memory of the device.*train\.device_batch_size.*--resume"):
        run(load_config(tiny_recipe), tmp_path / "run")
    assert list_checkpoints(tmp_path / "run")
