"""Samples that pre-training never sees, and a probe that looks on: both measure, and neither leaves a trace in the training."""

from pathlib import Path

import pytest
import torch
from running import assert_same_bits, interrupt_at, run
from tones import Tones, register_tones

from mae_core import Config, load_config
from mae_core.evaluation import online_probe
from mae_core.evaluation.online_probe import OnlineProbe, ProbeSettings
from mae_core.interfaces import ALONE, Draws, Sample
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint
from mae_core.runs.logs import read_metrics
from mae_core.tasks.held_out import held_out_loss
from mae_core.tasks.pretraining import Pretraining
from mae_core.training.preflight import build_task
from mae_core.training.sources import Source
from mae_core.training.validation import undisturbed
from mae_registry import ConfigError, MaeError

PROBE = "task.probe={data: {name: tones}, num_samples: 16}"


def config_of(tiny_recipe: Path, *overrides: str) -> Config:
    register_tones()
    return load_config(tiny_recipe, ["train.num_validations=3", *overrides])


def task_of(config: Config) -> Pretraining:
    task = build_task(config)
    assert isinstance(task, Pretraining)
    task.open_data()
    torch.manual_seed(0)
    task.build_model(fresh=True)
    return task


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(list_checkpoints(folder)[0]).model


def measured(folder: Path, name: str) -> dict[int, float]:
    return {int(entry["step"]): entry[name] for entry in read_metrics(folder / "metrics.jsonl") if name in entry}


def test_held_out_samples_are_a_seeded_share_that_no_step_loads(tiny_recipe):
    splits = []
    for overrides in ([], [], ["train.seed=4"]):
        task = task_of(config_of(tiny_recipe, "task.held_out=0.25", *overrides))
        kept, held_out = task.sources["image"], task.held_out["image"]
        assert (len(kept), len(held_out)) == (18, 6)
        names = [{source.describe(index) for index in range(len(source))} for source in (kept, held_out)]
        assert len(names[0] | names[1]) == 24
        index = next(i for i in range(24) if task.datasets["image"].describe(i) == held_out.describe(3))
        again = Source(task.datasets).load(index, seed=1)["image"].x
        assert torch.equal(held_out.load(3, seed=1)["image"].x, again)
        splits.append(names[1])
    assert splits[0] == splits[1] != splits[2]


def test_samples_that_are_drawn_by_weight_keep_their_weights_where_others_are_held_out():
    dataset = Tones((3, 24, 32))
    dataset.draws = Draws(20, torch.arange(24).double())
    whole = Source({"image": dataset})
    kept, held_out = whole.split(0.25, seed=0)
    assert whole.draws is dataset.draws
    for part, number in ((kept, None), (held_out, 6)):
        assert part.draws is not None
        assert part.draws.weights.tolist() == [float(part.describe(row).split()[1]) for row in range(len(part))]
        positive = int((part.draws.weights > 0).sum())
        assert part.draws.number == (min(20, positive) if number is None else min(number, positive))
        assert part.num_rows == part.draws.number


def test_the_loss_of_held_out_samples_is_measured_alike_at_every_validation(tiny_recipe, tmp_path):
    folder = tmp_path / "run"
    run(config_of(tiny_recipe, "task.held_out=0.25", "optimizer.base_lr=null", "optimizer.lr=1e-30"), folder)
    losses = measured(folder, "val/loss")
    assert list(losses) == [2, 5, 8]
    assert len(set(losses.values())) == 1  # so low a learning rate changes nothing


def test_it_is_the_mean_loss_of_the_samples_under_masks_that_stay(tiny_recipe, monkeypatch):
    task = task_of(config_of(tiny_recipe, "task.held_out=0.25"))
    with undisturbed(task.model):
        whole = held_out_loss(task, task.held_out, seed=3, num_workers=0, devices=ALONE)
        assert held_out_loss(task, task.held_out, seed=3, num_workers=2, devices=ALONE) == whole
        assert held_out_loss(task, task.held_out, seed=4, num_workers=0, devices=ALONE) != whole
    seen = []

    def forward(batch, *, masks, weights):
        del weights
        seen.append(torch.cat([batch["image"].x.flatten(), masks["image"].hidden.flatten()]))
        return model(batch, masks=masks)

    model, task.model.forward = task.model.forward, forward  # type: ignore[method-assign]
    with undisturbed(task.model):
        assert held_out_loss(task, task.held_out, seed=3, num_workers=0, devices=ALONE) == pytest.approx(whole)
        held_out_loss(task, task.held_out, seed=3, num_workers=0, devices=ALONE)
    assert torch.equal(seen[0], seen[1])


def test_neither_leaves_a_trace_in_the_training(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe, "task.held_out=0.25"), tmp_path / "without")
    run(config_of(tiny_recipe, "task.held_out=0.25", PROBE, "train.num_validations=4"), tmp_path / "with")
    assert_same_bits(weights(tmp_path / "without"), weights(tmp_path / "with"))
    pairs = zip(*(read_metrics(tmp_path / name / "metrics.jsonl") for name in ("without", "with")), strict=True)
    assert all(one["loss"] == other["loss"] for one, other in pairs)
    assert set(measured(tmp_path / "with", "val/knn_accuracy")) == {2, 4, 6, 8}


def test_the_probe_measures_what_the_features_are_worth(tiny_recipe, tmp_path):
    run(config_of(tiny_recipe, PROBE), tmp_path / "run")
    for name in ("val/knn_accuracy", "val/linear_accuracy"):
        values = measured(tmp_path / "run", name)
        assert list(values) == [4, 8, 12]
        assert values[12] == 1  # dark, middling and bright are easily told apart


def test_a_resumed_run_measures_the_same(tiny_recipe, tmp_path):
    config = config_of(tiny_recipe, PROBE, "task.held_out=0.25")
    run(config, tmp_path / "whole")
    with pytest.raises(MaeError):
        run(config, tmp_path / "parts", on_step=interrupt_at(4))
    without = config_of(tiny_recipe, PROBE, "task.held_out=0.25", "task.probe.num_samples=12")
    run(config, tmp_path / "parts", resume=True)
    assert measured(tmp_path / "whole", "val/loss") == measured(tmp_path / "parts", "val/loss")
    assert measured(tmp_path / "whole", "val/linear_accuracy") == measured(tmp_path / "parts", "val/linear_accuracy")
    run(without, tmp_path / "parts", resume=True)  # a probe may change
    with pytest.raises(ConfigError, match=r"task\.held_out: 0\.25 in the checkpoint, 0\.5 now"):
        run(config_of(tiny_recipe, PROBE, "task.held_out=0.5"), tmp_path / "parts", resume=True)


@pytest.mark.parametrize("limit", [0, 2**30])
def test_samples_of_a_probe_are_read_once_where_they_fit_into_memory(tiny_recipe, monkeypatch, limit):
    monkeypatch.setattr(online_probe, "MAX_KEPT", limit)
    config = config_of(tiny_recipe)
    probe = OnlineProbe(config, ProbeSettings(data={"name": "tones", "bad": [1, 2]}, num_samples=20), num_trained=1)
    backbone = task_of(config).model.backbone
    found = probe.measure(backbone, ALONE)

    def refuse(index: int) -> Sample:
        raise AssertionError("read again")

    dataset = probe._train._dataset
    monkeypatch.setattr(dataset, "read", refuse)
    if limit:
        assert probe.measure(backbone, ALONE) == found
    else:
        with pytest.raises(MaeError, match="read again"):
            probe.measure(backbone, ALONE)


def test_a_probe_without_any_readable_sample_says_why(tiny_recipe):
    config = config_of(tiny_recipe)
    probe = OnlineProbe(config, ProbeSettings(data={"name": "tones", "bad": list(range(24))}, num_samples=20), num_trained=1)
    with pytest.raises(MaeError, match=r"none of the 15 samples can be read; the first one: tone \d+ is torn$"):
        probe.measure(task_of(config).model.backbone, ALONE)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ("{data: {name: tones}, num_sample: 3}", r"task\.probe: .*num_sample.* is not allowed"),
        ("{num_samples: 3}", r"task\.probe: .* is not allowed"),
        ("{data: {name: tones}, modality: imag}", r"task\.probe\.modality: .*'imag'. Did you mean 'image'"),
        ("{data: {name: tone}}", r"task\.probe\.data: .*unknown datasets name 'tone'. Did you mean 'tones'"),
        ("{data: {name: tones, label: 3}}", r"task\.probe\.data: .*unknown parameter of 'tones'. Did you mean 'labels'"),
        ("{data: {name: tones, labels: 0}}", r"task\.probe\.data: the samples have no labels \(tone 0\)"),
        ("{data: {}}", r"task\.probe\.data: the samples have no labels"),
        ("{data: {name: tones}}", r"task\.probe: 0 samples in each of 3 validations .* set task\.probe\.num_samples=60"),
        ("{data: {name: tones}, held_out: {labels: 4}}", r"class tone 3"),
    ],
)
def test_a_probe_that_cannot_be(tiny_recipe, probe, message):
    with pytest.raises(MaeError, match=message):
        task_of(config_of(tiny_recipe, f"task.probe={probe}"))


def test_what_all_probes_of_a_run_may_encode_is_a_hundredth_of_what_it_trains_on(tiny_recipe):
    settings = ProbeSettings(data={"name": "tones"})
    sizes = []
    for num_trained in (9_000, 7_200_000):
        probe = OnlineProbe(config_of(tiny_recipe), settings, num_trained=num_trained)
        assert len(probe._train) == 18
        sizes.append(online_probe._affordable(num_trained, 3, 3))
    assert sizes == [30, online_probe.MAX_SAMPLES]


def test_a_share_that_leaves_nothing(tiny_recipe):
    for share in ("0.001", "0.99"):
        with pytest.raises(ConfigError, match=rf"task\.held_out={share}: this share of the 24 samples of image"):
            task_of(config_of(tiny_recipe, f"task.held_out={share}"))
    with pytest.raises(ConfigError, match=r"task\.held_out: 1 is not allowed"):
        config_of(tiny_recipe, "task.held_out=1")
