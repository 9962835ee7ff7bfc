"""What fine-tuning adds to classification: held-out samples, mixing, frozen parts, averages; all of it resumes exactly."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from running import assert_same_bits, interrupt_at, run
from tones import register_tones

import mae_core
from mae_core import load_config
from mae_core.interfaces import ALONE
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint
from mae_core.runs.logs import read_metrics
from mae_core.runs.results import read_results
from mae_core.training.interrupts import Interrupted
from mae_core.training.preflight import build_task
from mae_registry import ConfigError, MaeError

EVERYTHING = (
    "task.mix={}", "task.smoothing=0.1", "task.erase=0.5", "task.average=0.8", "task.tuned=1", "model.encoder.drop_path=0.2",
    "task.masker={name: random, ratio: 0.5}", "task.validation={}",
)  # fmt: skip


def config_of(tiny_recipe, *overrides):
    register_tones()
    task = ["task={name: classify}", "data.image=null", "data.image={name: tones}", "train.num_validations=3"]
    return load_config(tiny_recipe, [*task, "optimizer.base_lr=null", "optimizer.lr=1e-3", *overrides])


def weights(folder):
    return load_checkpoint(list_checkpoints(folder)[0]).model


def restored(config, folder):
    """The task of a finished run, with its model."""
    task = build_task(config)
    task.open_data()
    task.build_model(fresh=False)
    task.model.load_state_dict(weights(folder))
    return task


def test_held_out_samples_are_measured_as_the_run_goes_and_at_its_end(tiny_recipe, tmp_path):
    config = config_of(tiny_recipe, "task.validation={bad: [4]}", "train.epochs=8", "optimizer.lr=1e-6")
    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match=r"1 of 24 held-out samples cannot be read.*such as tone 4 \(tone 4 is torn\)"):
        run(config, folder)
    measured = {entry["step"]: entry for entry in read_metrics(folder / "metrics.jsonl") if "val/loss" in entry}
    assert list(measured) == [8, 16, 24]
    task = restored(config, folder)
    assert task.data is not None
    indices = [index for index in range(24) if index != 4]
    x = torch.stack([task.data.held_out.read(index).x for index in indices])
    with torch.no_grad():
        scores = task.model.eval()({"image": task.model.backbone.input("image").tokenizer.normalize(x)})
    labels = torch.tensor(indices) % 3
    assert measured[24]["val/loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(scores, labels)), rel=1e-5)
    accuracy = float((scores.argmax(1) == labels).float().mean())
    assert measured[24]["val/accuracy"] == pytest.approx(accuracy)
    results = read_results(folder)
    assert results is not None
    assert results.protocol == "training from scratch"
    assert results.metrics["accuracy"] == [pytest.approx(accuracy)]
    assert list(results.classes) == ["tone 0", "tone 1", "tone 2"]
    assert results.data["held_out_samples"] == 23
    assert results.data["unreadable"] == ["tone 4: tone 4 is torn"]
    wrong = [index for index, score, label in zip(indices, scores, labels, strict=True) if score.argmax() != label]
    assert {entry.name for entry in results.wrong} == {f"tone {index}" for index in wrong}
    assert len(wrong) > 0
    for entry in results.wrong:
        with Image.open(folder / entry.picture) as picture:
            assert picture.size == (256, 192)  # enlarged eightfold
            shown = torch.from_numpy(np.array(picture))[::8, ::8].permute(2, 0, 1)
        expected = task.data.held_out.read(int(entry.name.split()[1])).x
        assert (shown.int() - expected.int()).abs().max() <= 1


def test_probabilities_of_several_views_are_averaged(tiny_recipe, tmp_path):
    config = config_of(tiny_recipe, "task.validation={num_test_views: 3, bad: [7]}", "train.num_validations=0")
    with pytest.warns(UserWarning, match="cannot be read"):
        run(config, tmp_path / "run")
    task = restored(config, tmp_path / "run")
    task.model.eval()
    normalize = task.model.backbone.input("image").tokenizer.normalize
    held_out = task.data.held_out
    views = [normalize(held_out.read_views(index).x) for index in range(24) if index != 7]
    with torch.no_grad():
        scores = [task.model({"image": x}).softmax(1).mean(0) for x in views]
    with pytest.warns(UserWarning, match="cannot be read"):
        predictions = task.measuring.predictions(task.measuring.predict(task.model, ALONE))
    assert predictions.scores.shape == (23, 3)
    torch.testing.assert_close(predictions.scores, torch.stack(scores))


def test_nothing_is_measured_where_nothing_is_held_out(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe), tmp_path / "run")
    assert not any("val/loss" in entry for entry in read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert read_results(tmp_path / "run") is None


def test_held_out_data_that_cannot_be_read_at_all(tiny_recipe, tmp_path):
    everything = json.dumps(list(range(24)))
    with pytest.raises(MaeError, match=r"validation after step 4: none of the 24 held-out samples.*tone 0 is torn"):
        run(config_of(tiny_recipe, f"task.validation={{bad: {everything}}}"), tmp_path / "run")


def test_with_everything_at_once_it_resumes_with_the_same_bits(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe, *EVERYTHING), tmp_path / "whole")
    with pytest.raises(Interrupted, match="after step 6 of 12"):
        run(config_of(tiny_recipe, *EVERYTHING), tmp_path / "parts", on_step=interrupt_at(5))
    run(config_of(tiny_recipe, *EVERYTHING, "train.num_workers=2"), tmp_path / "parts", resume=True)
    whole = weights(tmp_path / "whole")
    assert_same_bits(whole, weights(tmp_path / "parts"))
    assert any(name.startswith("average.") for name in whole)
    logs = [[e.get("val/loss") for e in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("whole", "parts")]
    assert logs[0] == logs[1]


def test_validation_does_not_change_what_is_trained(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe, *EVERYTHING), tmp_path / "with")
    run(config_of(tiny_recipe, *EVERYTHING, "train.num_validations=0", "task.validation=null"), tmp_path / "without")
    assert_same_bits(weights(tmp_path / "with"), weights(tmp_path / "without"))


def test_only_what_is_tuned_moves(tiny_recipe, tmp_path):
    config = config_of(tiny_recipe, "task.tuned=0.5")
    torch.manual_seed(0)
    run(config, tmp_path / "run")
    first = load_checkpoint(list_checkpoints(tmp_path / "run")[-1]).model
    last = weights(tmp_path / "run")
    moved = {name for name in last if not torch.equal(first[name], last[name])}
    assert moved
    assert all(name.startswith(("head.", "backbone.encoder.norm.", "backbone.encoder.blocks.1.")) for name in moved)
    assert {name.split(".")[4] for name in moved if ".blocks." in name} == {"mlp", "norm2"}
    assert read_results(tmp_path / "run") is None


def test_the_average_is_what_is_measured_and_kept(tiny_recipe, tmp_path):
    config = config_of(tiny_recipe, "task.average=0.9", "task.validation={}")
    run(config, tmp_path / "run")
    saved = mae_core.load_backbone(tmp_path / "run" / "encoder.safetensors").state_dict()
    whole = weights(tmp_path / "run")
    averaged = {name.removeprefix("average.backbone."): x for name, x in whole.items() if name.startswith("average.backbone.")}
    assert_same_bits(saved, averaged)
    assert_same_bits(saved, mae_core.load_backbone(tmp_path / "run").state_dict())
    assert not torch.equal(whole["backbone.encoder.cls_token"], saved["encoder.cls_token"])
    task = restored(config, tmp_path / "run")
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    task.model.eval()
    assert task.measuring.measure(task.model.average, ALONE)["loss"] == pytest.approx(last["val/loss"], rel=1e-6)
    task.measuring.forget()
    assert task.measuring.measure(task.model, ALONE)["loss"] != pytest.approx(last["val/loss"], rel=1e-6)


def test_samples_with_several_labels(tiny_recipe, tmp_path):
    chords = ["data.image=null", "data.image={name: chords}", "task.validation={}"]
    with pytest.raises(ConfigError, match=r"task\.loss=cross_entropy is for samples of one class"):
        run(config_of(tiny_recipe, *chords), tmp_path / "other")
    run(config_of(tiny_recipe, *chords, "task.loss=binary", "task.mix={}", "train.epochs=20"), tmp_path / "run")
    measured = [entry for entry in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val/map" in entry]
    assert 0.3 < measured[0]["val/map"] <= measured[-1]["val/map"] <= 1
    assert measured[-1]["val/loss"] < 0.68 < 0.6932  # what knows nothing has log 2
    results = read_results(tmp_path / "run")
    assert results is not None
    assert results.main == "map"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["task.mix={mixup: 0.0, cutmix: 0.0}"], "mixup and cutmix are both 0"),
        (["task.mix={}", "train.device_batch_size=1"], "train.device_batch_size=1 must be divisible by 2"),
        (["task.mix={}", "train.batch_size=9"], "in groups of 2, into which train.batch_size=9"),
        (["task.tuned=7"], "task.tuned=7: must be all, 0"),
        (["task.masker={name: largest_variance, ratio: 0.5}"], "dropped by place alone"),
        (["task.masker={repeat: {name: random, ratio: 0.5}, times: 2}"], "takes one"),
        (["task.masker={any: [{name: random, ratio: 0.5}, {name: random, ratio: 0.4}], ragged: true}"], "mask_tokens"),
        (["task.masker={name: random, ratio: 0.5, over: [t]}"], "task.masker.*has no axis 't'"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("largest_variance")
def test_what_cannot_be_trained_is_said_before_anything_is_written(tiny_recipe, tmp_path, overrides, problem):
    with pytest.raises(ConfigError, match=problem):
        run(config_of(tiny_recipe, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()
