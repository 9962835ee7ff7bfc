"""Checkpoints in parts: written by processes that share the weights, and read by any that do not."""

import contextlib
import functools
import os

import pytest
from ranks import on_ranks
from running import interrupt_at, run
from small_recipes import write_tiny_recipe
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

from mae_core import load_config, load_model
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint, load_newest
from mae_core.runs.weights import DamagedCheckpoint
from mae_core.training.interrupts import Interrupted
from mae_registry import MaeError

FSDP = "train.strategy=fsdp"


@pytest.fixture(scope="module")
def parts(tmp_path_factory, photos):
    """A run of two processes that wrote checkpoints after steps 2 and 4."""
    folder = tmp_path_factory.mktemp("shared")
    config = load_config(write_tiny_recipe(folder / "tiny.yaml", photos), [FSDP])
    on_ranks(2, functools.partial(until, 3, config, folder / "run"))
    return folder / "run"


def until(step, config, folder):
    with contextlib.suppress(Interrupted):
        run(config, folder, on_step=interrupt_at(step))


def test_a_plain_model_reads_them(parts):
    newest, older = list_checkpoints(parts)
    assert [newest.name, older.name] == ["step-00000004.parts", "step-00000002.parts"]
    assert len(list(newest.glob("*.safetensors"))) == 2
    model, config, step = load_model(parts)
    assert (step, config["train.strategy"]) == (4, "fsdp")
    stored = load_checkpoint(newest)
    assert all(bool((tensor == stored.model[name]).all()) for name, tensor in model.state_dict().items())
    moments = stored.training["optimizer"]["state"].values()
    assert all(state["exp_avg"].shape == state["exp_avg_sq"].shape and float(state["step"]) == 4 for state in moments)


def test_a_part_that_is_cut_or_missing_is_named_and_passed_over(parts):
    newest = list_checkpoints(parts)[0]
    part = sorted(newest.glob("*.safetensors"))[1]
    whole = part.read_bytes()
    try:
        part.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedCheckpoint, match=f"part {part.name} is missing or incomplete"):
            load_checkpoint(newest)
        part.unlink()
        with pytest.warns(UserWarning, match=f"skipped a damaged checkpoint: .*{part.name}"):
            checkpoint = load_newest(parts)
        assert checkpoint is not None
        assert checkpoint.step == 2
    finally:
        part.write_bytes(whole)


def test_where_one_process_cannot_write_all_say_so_and_older_checkpoints_stay(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(
        HuggingFaceStorageWriter, "write_data", full_from_the_second_time_on(HuggingFaceStorageWriter.write_data)
    )
    config = load_config(tiny_recipe, [FSDP])
    found = on_ranks(2, functools.partial(error_of, config, tmp_path / "run"))
    assert all("No space left on device" in text and "step-00000004.parts" in text for text in found)
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["step-00000002.parts"]
    assert load_newest(tmp_path / "run") is not None


def full_from_the_second_time_on(write):
    calls = []

    def full(self, *args):
        calls.append(1)
        if os.environ["RANK"] == "1" and len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(self, *args)

    return full


def error_of(config, folder):
    try:
        run(config, folder)
    except MaeError as error:
        return str(error)
    return "none"
