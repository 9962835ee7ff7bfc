"""Checkpoints are written while the training goes on, and hold what it was when they were begun."""

import functools
import gc
import os
import threading
import warnings

import pytest
from ranks import on_ranks
from running import assert_same_bits, interrupt_at, run

import mae_core.runs.checkpoint as checkpoints
from mae_core import load_config
from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from mae_core.runs.weights import DamagedCheckpoint
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
    assert found[0] == before


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
