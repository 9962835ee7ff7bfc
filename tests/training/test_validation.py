"""What a task measures on held-out data during a run: when, where it is written, and that training does not notice."""

import random

import numpy as np
import pytest
import torch
from running import assert_same_bits, interrupt_at, run

from mae_core import load_config
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint
from mae_core.runs.logs import read_metrics
from mae_core.tasks.pretraining import Pretraining
from mae_core.training.interrupts import Interrupted
from mae_core.training.validation import evenly_spaced, undisturbed
from mae_registry import MaeError


def weights(folder):
    return load_checkpoint(list_checkpoints(folder)[0]).model


def measure_carelessly(self, devices):
    """As a task might that does not know the rules: it uses every global generator, and leaves modes as they come."""
    assert not torch.is_grad_enabled()
    assert not any(module.training for module in self.model.backbone.modules())
    self.model.train()
    self.model.backbone.encoder.eval()
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    return {"val/loss": sum(drawn), "val/norm": float(self.model.backbone.encoder.cls_token.norm())}


@pytest.fixture
def validated(monkeypatch):
    monkeypatch.setattr(Pretraining, "validate", measure_carelessly)


def test_a_run_ends_with_the_same_bits_with_validations_and_without(tiny_recipe, tmp_path, validated):
    run(load_config(tiny_recipe, ["train.num_validations=0"]), tmp_path / "without")
    run(load_config(tiny_recipe, ["train.num_validations=12"]), tmp_path / "with")
    assert_same_bits(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert not any("val/loss" in entry for entry in read_metrics(tmp_path / "without" / "metrics.jsonl"))


def test_an_interrupted_and_resumed_run_measures_the_same(tiny_recipe, tmp_path, validated):
    config = load_config(tiny_recipe, ["train.num_validations=5"])
    said = run(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(config, tmp_path / "parts", on_step=interrupt_at(5))
    run(load_config(tiny_recipe, ["train.num_validations=5", "train.num_workers=1"]), tmp_path / "parts", resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    measured = [
        {entry["step"]: entry["val/norm"] for entry in read_metrics(tmp_path / name / "metrics.jsonl") if "val/norm" in entry}
        for name in ("whole", "parts")
    ]
    assert list(measured[0]) == [2, 4, 7, 9, 12]
    assert measured[0] == measured[1]
    assert len([line for line in said if line.startswith(tuple(f"step {step}: val/loss" for step in measured[0]))]) == 5


def test_what_a_validation_finds_wrong_ends_the_run_and_loses_nothing(tiny_recipe, tmp_path, monkeypatch):
    def fail(self, devices):
        raise MaeError("the held-out data have gone")

    monkeypatch.setattr(Pretraining, "validate", fail)
    config = load_config(tiny_recipe, ["train.num_validations=4", "train.checkpoint_steps=auto"])
    with pytest.raises(MaeError, match=r"validation after step 3: the held-out data have gone.*step-00000003\.pt"):
        run(config, tmp_path / "run")
    assert load_checkpoint(list_checkpoints(tmp_path / "run")[0]).step == 3


@pytest.mark.parametrize(
    ("count", "steps"), [(0, set()), (1, {10}), (3, {3, 6, 10}), (10, set(range(1, 11))), (25, set(range(1, 11)))]
)
def test_validations_are_spread_evenly_and_the_last_is_at_the_end(count, steps):
    assert evenly_spaced(count, 10) == steps


def test_modes_and_generators_are_put_back_after_an_error_too():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(torch.nn.Dropout()).eval())
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    random_state, numpy_state = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].copy()
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        raise ZeroDivisionError(random.random() + np.random.rand() + float(torch.rand(())))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == random_state
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_state)
