"""Checkpoints are written while the training goes on, and hold what it was when they were begun."""

import gc
import threading

import pytest
from running import assert_same_bits, interrupt_at, run

import mae_core.runs.checkpoint as checkpoints
from mae_core import load_config
from mae_core.runs.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from mae_core.training.interrupts import Interrupted

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
    assert found[0] <= before  # what other tests left behind may go at any time
