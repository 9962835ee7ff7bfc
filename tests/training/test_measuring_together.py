"""Held-out data are measured by all devices together, and the numbers are those of one device, to the bit."""

import functools
import warnings

import pytest
from ranks import on_ranks
from running import world_of
from tones import register_tones

from mae_core import load_config
from mae_core.evaluation import online_probe, reading
from mae_core.interfaces import Decided
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.results import read_results
from mae_core.tasks import held_out
from mae_core.training.preflight import build_task
from mae_core.training.trainer import Trainer

SIZES = (2, 3)


@pytest.fixture
def recipes(tiny_recipe, monkeypatch):
    """What each finds: losses in two batches, features and predictions in several, one of which has nothing but bad samples."""
    register_tones()
    monkeypatch.setattr(reading, "BATCH_SIZE", 5)
    monkeypatch.setattr(online_probe, "NUM_STEPS", 20)
    monkeypatch.setattr(held_out, "BATCH_SIZE", 3)
    tones = ["data.image=null", "data.image={name: tones}"]
    pretrain = "task={name: pretrain, held_out: 0.25, probe: {data: {name: tones, bad: [1]}, num_samples: 16}}"
    classify = "task={{name: classify, average: 0.5, head: {{name: linear, norm: batch}}, validation: {{bad: {}}}}}"
    return {
        "pretrain": load_config(tiny_recipe, [*tones, pretrain, "train.strategy=fsdp"]),
        "classify": load_config(tiny_recipe, [*tones, classify.format([0, 1, 2, 3, 4, 9])]),
        "unreadable": load_config(tiny_recipe, [*tones, classify.format(list(range(24))), "train.strategy=fsdp"]),
    }


def measure(recipes, folder):
    """What each recipe's model measures before it has learned anything, and what is told and written."""
    found = {}
    for name, config in recipes.items():
        task = build_task(config)
        task.open_data()
        (folder / name).mkdir(parents=True, exist_ok=True)
        trainer = Trainer(task, config, folder / name, world=world_of(config))
        for key, buffer in task.model.named_buffers():
            if "running" in key:  # what a BatchNorm has seen is not the same on all devices
                buffer += trainer.world.rank
        if name == "unreadable":
            trainer._save()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found[name] = numbers_of(trainer), [str(warning.message) for warning in told if "held-out" in str(warning.message)]
    return found


def numbers_of(trainer):
    """Measured twice, as what is read may be kept in between."""
    try:
        with trainer._measuring():
            first, second = (trainer.task.validate(trainer.world) for _ in range(2))
            trainer.task.finish(trainer.folder, trainer.world)
    except Decided as error:
        return str(error)
    assert first == second
    return first


def test_numbers_do_not_depend_on_the_number_of_devices(recipes, tmp_path):
    alone = measure(recipes, tmp_path / "alone")
    assert {name: sorted(found) for name, (found, _) in alone.items() if name != "unreadable"} == {
        "pretrain": ["val/knn_accuracy", "val/linear_accuracy", "val/loss"],
        "classify": ["val/accuracy", "val/loss"],
    }
    assert "none of the 24 held-out samples can be read" in alone["unreadable"][0]
    for size in SIZES:
        folder = tmp_path / str(size)
        writer, *others = on_ranks(size, functools.partial(measure, recipes, folder))
        assert writer == alone
        for other in others:
            assert other == {name: (found, []) for name, (found, _) in alone.items()}
        assert_same_files(folder, tmp_path / "alone")


def assert_same_files(folder, alone):
    """The results, and in a checkpoint what the first device's BatchNorm has seen."""
    results, expected = (read_results(each / "classify") for each in (folder, alone))
    assert results is not None
    assert expected is not None
    assert (results.metrics, results.data, results.wrong) == (expected.metrics, expected.data, expected.wrong)
    checkpoint = load_newest(folder / "unreadable")
    assert checkpoint is not None
    model = checkpoint.model
    assert all((model[key] == int("var" in key)).all() for key in model if "running" in key)
