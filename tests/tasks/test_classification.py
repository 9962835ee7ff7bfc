"""Classification through the one trainer: it learns, logs its accuracy, resumes exactly, and says what is wrong with labels."""

from pathlib import Path

import pytest
import torch
from running import assert_same_bits, interrupt_at, run
from tones import register_tones

import mae_core
from mae_core import Config, load_config
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint, load_model
from mae_core.runs.logs import read_metrics
from mae_core.training.interrupts import Interrupted
from mae_registry import ConfigError, MaeError


def config_of(tiny_recipe: Path, *overrides: str) -> Config:
    register_tones()
    task = ["task={name: classify}", "data.image=null", "data.image={name: tones}", "train.num_validations=3"]
    return load_config(tiny_recipe, [*task, "optimizer.base_lr=null", "optimizer.lr=1e-3", *overrides])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(list_checkpoints(folder)[0]).model


@pytest.mark.parametrize("head", ["{name: linear}", "{name: linear, pool: cls, norm: batch}", "{name: attentive, heads: 2}"])
def test_it_learns_and_says_how_well(tiny_recipe, tmp_path, head):
    run(config_of(tiny_recipe, "train.epochs=12", f"task.head={head}"), tmp_path / "run")
    entries = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert all(0 <= entry["accuracy"] <= 1 for entry in entries)
    assert sum(entry["accuracy"] for entry in entries[-6:]) / 6 > 0.9
    assert entries[-1]["loss"] < 0.7 * entries[0]["loss"]
    names = weights(tmp_path / "run")
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}
    assert ("head.norm.weight" in names) == (head == "{name: linear}")


def test_it_resumes_with_the_same_bits_also_with_workers(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe), tmp_path / "whole")
    with pytest.raises(Interrupted, match="after step 6 of 12"):
        run(config_of(tiny_recipe), tmp_path / "parts", on_step=interrupt_at(5))
    run(config_of(tiny_recipe, "train.num_workers=2"), tmp_path / "parts", resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_what_it_trained_is_a_backbone_and_no_autoencoder(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe), tmp_path / "run")
    x = torch.rand(2, 3, 24, 32)
    found = [
        mae_core.load_backbone(path).encode({"image": x}).tokens
        for path in (tmp_path / "run", tmp_path / "run" / "encoder.safetensors")
    ]
    assert found[0].shape == (2, 12, 32)
    assert torch.equal(*found)
    with pytest.raises(MaeError, match="comes from the task 'classify'"):
        load_model(tmp_path / "run")


def test_labels_that_cannot_be_classes(tiny_recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.image have no labels.*set data\.image\.labels to folders"):
        run(config_of(tiny_recipe, "data.image.labels=0"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"all samples of data\.image are of one class, tone 0"):
        run(config_of(tiny_recipe, "data.image.labels=1"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"task\.validation.* have no sample of the class tone 3"):
        run(config_of(tiny_recipe, "data.image.labels=4", "task.validation={labels: 3}"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"task\.validation: .*lables: unknown.*Did you mean 'labels'"):
        run(config_of(tiny_recipe, "task.validation={lables: 3}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_is_checked_as_any_component():
    recipe = "demo/image"
    assert load_config(recipe)["task"] == {"name": "pretrain", "held_out": 0.0, "probe": None}
    assert load_config(recipe, ["task.held_out=0.1"])["task"] == {"name": "pretrain", "held_out": 0.1, "probe": None}
    config = load_config(
        recipe, ["task={name: classify, head: linear, mix: {cutmix: 0.0}, masker: {name: random, ratio: 0.5}}"]
    )
    task = config.to_dict()["task"]
    assert task["head"] == {"name": "linear", "pool": "mean", "norm": "layer", "init_std": 2e-5}
    assert task["mix"] == {"mixup": 0.8, "cutmix": 0.0, "prob": 1.0, "switch_prob": 0.5, "mode": "batch"}
    assert task["masker"]["ratio"] == 0.5
    assert "truncate" in task["masker"]
    assert load_config(config.to_dict()).to_dict() == config.to_dict()
    with pytest.raises(ConfigError, match=r"task\.name: unknown tasks name 'clasify'. Did you mean 'classify'"):
        load_config(recipe, ["task=clasify"])
    with pytest.raises(ConfigError) as error:
        load_config(
            recipe, ["task={name: classify, erase: 2, head: {name: linear, pol: cls}, mix: {mixap: 1}, masker: {name: rendom}}"]
        )
    for problem in (
        "task.erase: 2 is not allowed",
        "task.head.pol: unknown parameter of 'linear'. Did you mean 'pool'",
        "task.mix: ",
        "task.masker.name: unknown",
    ):
        assert problem in str(error.value)
