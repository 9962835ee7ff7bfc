"""Checkpoints are written while the training goes on, and hold what it was when they were begun."""

import functools
import gc
import itertools
import json
import os
import threading
import time
import warnings

import pytest
import torch
from ranks import on_ranks
from running import assert_same_bits, interrupt_at, run

import mae_core.runs.checkpoint as checkpoints
from mae_core import load_config
from mae_core.interfaces import Losses
from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from mae_core.runs.weights import DamagedCheckpoint
from mae_core.tasks.pretraining import Pretraining
from mae_core.training.interrupts import Interrupted
from mae_registry import MaeError

EACH_FOURTH = ["train.checkpoint_steps=4", "train.num_validations=0", "train.num_pictures=0"]


def test_the_training_goes_on_while_a_checkpoint_is_written(tiny_recipe, tmp_path, monkeypatch):
    config = load_config(tiny_recipe, [*EACH_FOURTH, "train.keep_checkpoints=3"])
    run(config, tmp_path / "undisturbed")
    passed, waited, write = threading.Event(), [], checkpoints.write_checkpoint

    def write_late(path, checkpoint):
        waited.append(passed.wait(timeout=60))
        write(path, checkpoint)

    monkeypatch.setattr(checkpoints, "write_checkpoint", write_late)
    run(config, tmp_path / "run", on_step=lambda step: passed.set() if step == 6 else None)
    assert waited == [True, True, True]
    for ours, theirs in zip(list_checkpoints(tmp_path / "run"), list_checkpoints(tmp_path / "undisturbed"), strict=True):
        stored, expected = load_checkpoint(ours), load_checkpoint(theirs)
        assert stored.step == expected.step
        assert_same_bits(stored.model, expected.model)
        for state, other in zip(*(c.training["optimizer"]["state"].values() for c in (stored, expected)), strict=True):
            assert_same_bits(state, other)


def count_checkpoints():
    gc.collect()
    return sum(type(thing) is Checkpoint for thing in gc.get_objects())


def test_a_checkpoint_that_a_run_was_resumed_from_does_not_stay_in_memory(tiny_recipe, tmp_path):
    config, found = load_config(tiny_recipe, EACH_FOURTH), []
    with pytest.raises(Interrupted):
        run(config, tmp_path / "run", on_step=interrupt_at(4))
    before = count_checkpoints()
    run(config, tmp_path / "run", resume=True, on_step=lambda step: found.append(count_checkpoints()))
    assert found[0] <= before  # what other tests left may go meanwhile


def slowly(write):
    def write_slowly(path, checkpoint):
        time.sleep(2)
        write(path, checkpoint)

    return write_slowly


def how_it_ends(config, folder, *, on_step=lambda step: None):
    """What one of several processes raises, and the checkpoints that are there then."""
    try:
        run(config, folder, on_step=on_step)
    except MaeError as error:
        return str(error), [path.name for path in list_checkpoints(folder)]
    return "", []


def both_ends(config, folder):
    """Of a run that is asked to stop, and of one whose loss is not finite."""
    interrupted = how_it_ends(config, folder / "interrupted", on_step=interrupt_at(3))
    losses, number = Pretraining.losses, itertools.count()

    def spoil(*args):
        found = losses(*args)
        return found if next(number) < 2 else Losses({name: loss * torch.nan for name, loss in found.parts.items()})

    Pretraining.losses = spoil  # in this process, which is a fork
    return interrupted, how_it_ends(config, folder / "diverged")


def test_no_process_ends_before_the_last_checkpoint_is_written(tiny_recipe, tmp_path, monkeypatch):
    """Whoever started them would end the others with it."""
    monkeypatch.setattr(checkpoints, "write_checkpoint", slowly(checkpoints.write_checkpoint))
    config = load_config(tiny_recipe, ["train.checkpoint_steps=100", "train.num_validations=0", "train.num_pictures=0"])
    for interrupted, diverged in on_ranks(2, functools.partial(both_ends, config, tmp_path)):
        assert (interrupted[0][:26], interrupted[1]) == ("interrupted after step 4 o", ["step-00000004.pt"])
        assert "step 3: the loss is nan" in diverged[0]
        assert diverged[0].endswith("step-00000002.pt")
        assert diverged[1] == ["step-00000002.pt"]


def test_what_goes_wrong_in_writing_hides_no_other_error(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "write_checkpoint", lambda *_: 1 / 0)

    def stop(step):
        if step == 5:
            raise RuntimeError("the display is broken")

    with pytest.raises(RuntimeError, match="the display is broken"):
        run(load_config(tiny_recipe, EACH_FOURTH), tmp_path / "run", on_step=stop)
    status = json.loads((tmp_path / "run" / "run.json").read_text())["status"]
    assert "the display is broken" in status
    assert "division by zero" in status


def test_a_second_ctrl_c_does_not_wait_for_what_is_written(tiny_recipe, tmp_path, monkeypatch):
    goes_on = threading.Event()
    monkeypatch.setattr(checkpoints, "write_checkpoint", lambda *_: goes_on.wait(60))

    def stop(step):
        if step == 5:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(load_config(tiny_recipe, EACH_FOURTH), tmp_path / "run", on_step=stop)
    assert time.monotonic() - started < 50
    goes_on.set()


def resume_on_two(config, folder):
    """The warnings of one of two devices, and the error that ended it; the second one has an unreliable disk."""

    def load(path):
        if os.environ["RANK"] == "1" and path.name == "step-00000004.pt":
            raise DamagedCheckpoint(f"{path} is damaged")
        return load_checkpoint(path)

    with warnings.catch_warnings(record=True) as given, pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr("mae_core.training.run.load_checkpoint", load)
        try:
            run(config, folder, resume=True)
            error = ""
        except MaeError as raised:
            error = str(raised)
    return [str(each.message) for each in given if "checkpoint" in str(each.message)], error


def test_all_devices_go_on_from_the_same_checkpoint_or_none_does(tiny_recipe, tmp_path):
    config = load_config(tiny_recipe, EACH_FOURTH)
    with pytest.raises(Interrupted):
        run(config, tmp_path / "run", on_step=interrupt_at(7))
    newest = list_checkpoints(tmp_path / "run")[0]
    assert newest.name == "step-00000008.pt"
    os.truncate(newest, 100)
    found = on_ranks(2, functools.partial(resume_on_two, config, tmp_path / "run"))
    assert all("process 1 of the run cannot read" in error and "step-00000004.pt" in error for _, error in found)
    assert [len(given) for given, _ in found] == [1, 0]
