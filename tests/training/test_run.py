"""A run from recipe to folder: what it leaves, that it is reproducible, and that it resumes exactly."""

import dataclasses
import json
import signal
from pathlib import Path

import pytest
import running
import torch
from running import assert_same_bits, interrupt_at, run
from safetensors import safe_open

from mae_core import load_config
from mae_core.interfaces import Losses
from mae_core.registry import registry
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint, load_model, load_newest
from mae_core.runs.lock import run_lock
from mae_core.runs.logs import read_metrics
from mae_core.tasks.pretraining import Pretraining
from mae_core.training.interrupts import Interrupted
from mae_registry import ConfigError, MaeError

NUM_STEPS = 12


def final_weights(folder):
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    assert checkpoint.step == NUM_STEPS
    return checkpoint.model


@pytest.fixture
def uninterrupted(tiny_config, tmp_path):
    run(tiny_config, tmp_path / "uninterrupted")
    return tmp_path / "uninterrupted"


def test_a_run_leaves_everything_that_it_promises(uninterrupted, tiny_config):
    names = {path.name for path in uninterrupted.iterdir()} - {".lock"}
    assert names == {
        "checkpoints", "config.yaml", "encoder.md", "encoder.safetensors", "metrics.jsonl", "pictures", "report.html",
        "run.json", "tensorboard",
    }  # fmt: skip
    assert load_config(uninterrupted / "config.yaml").to_dict() == tiny_config.to_dict()
    metrics = read_metrics(uninterrupted / "metrics.jsonl")
    assert [entry["step"] for entry in metrics] == list(range(1, NUM_STEPS + 1))
    assert [entry["epoch"] for entry in metrics] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert [path.name for path in list_checkpoints(uninterrupted)] == [f"step-{step:08d}.pt" for step in (12, 10, 8)]
    assert [path.name for path in (uninterrupted / "pictures").iterdir()] == ["step-00000012-image.png"]
    assert json.loads((uninterrupted / "run.json").read_text())["status"] == "finished"
    with safe_open(uninterrupted / "encoder.safetensors", "pt") as file:
        assert "encoder.cls_token" in file.keys()  # noqa: SIM118 - not a mapping
        assert not any("decoder" in name for name in file.keys())  # noqa: SIM118
        assert "mae_vit" not in file.metadata()["config"]  # resolved: it extends nothing


def test_a_run_learns(tiny_recipe, tmp_path):
    config = load_config(tiny_recipe, ["optimizer.base_lr=null", "optimizer.lr=5e-3", "train.epochs=12"])
    run(config, tmp_path / "run")
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_learning_rates_follow_the_schedule_per_step(uninterrupted):
    rates = [entry["lr"] for entry in read_metrics(uninterrupted / "metrics.jsonl")]
    peak = 1.5e-4 * 8 / 256
    assert rates[:4] == pytest.approx([0, peak / 3, peak * 2 / 3, peak])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] > 0


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_an_interrupted_and_resumed_run_ends_with_the_same_bits(uninterrupted, tiny_recipe, tmp_path, num_workers):
    config = load_config(tiny_recipe, [f"train.num_workers={num_workers}"])
    folder = tmp_path / "interrupted"
    with pytest.raises(Interrupted, match="interrupted after step 6 of 12"):
        run(config, folder, on_step=interrupt_at(5))
    assert json.loads((folder / "run.json").read_text())["status"].startswith("stopped: interrupted")
    run(config, folder, resume=True)
    assert_same_bits(final_weights(folder), final_weights(uninterrupted))
    losses = [[entry["loss"] for entry in read_metrics(path / "metrics.jsonl")] for path in (folder, uninterrupted)]
    assert losses[0] == losses[1]


def test_a_killed_run_resumes_from_its_last_checkpoint_with_the_same_bits(forks, uninterrupted, tiny_recipe, tmp_path):
    folder = tmp_path / "killed"
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(running.__file__).parent)!r})
from mae_core import load_config
from pathlib import Path
from running import run
def on_step(step):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
run(load_config({str(tiny_recipe)!r}), Path({str(folder)!r}), on_step=on_step)
"""
    killed = forks.python(script)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [entry["step"] for entry in read_metrics(folder / "metrics.jsonl")] == list(range(1, 8))
    assert list_checkpoints(folder)[0].name == "step-00000006.pt"
    run(load_config(tiny_recipe), folder, resume=True)
    assert_same_bits(final_weights(folder), final_weights(uninterrupted))
    assert [entry["step"] for entry in read_metrics(folder / "metrics.jsonl")] == list(range(1, NUM_STEPS + 1))


def test_a_run_killed_before_its_first_checkpoint_starts_again(uninterrupted, tiny_recipe, tmp_path):
    folder = tmp_path / "young"
    folder.mkdir()
    (folder / "config.yaml").write_text(load_config(tiny_recipe).to_yaml())
    with pytest.warns(UserWarning, match="there is no checkpoint in .* yet: the run begins again at step 1"):
        run(load_config(tiny_recipe), folder, resume=True)
    assert_same_bits(final_weights(folder), final_weights(uninterrupted))


def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(uninterrupted, tiny_recipe):
    expected = final_weights(uninterrupted)
    newest = list_checkpoints(uninterrupted)[0]
    newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=r"skipped a damaged checkpoint: .*step-00000012\.pt is damaged"):
        run(load_config(tiny_recipe), uninterrupted, resume=True)
    assert_same_bits(final_weights(uninterrupted), expected)


def test_accumulated_micro_batches_give_the_same_step(uninterrupted, tiny_recipe, tmp_path):
    folder = tmp_path / "accumulated"
    run(load_config(tiny_recipe, ["train.device_batch_size=2"]), folder)
    accumulated, whole = final_weights(folder), final_weights(uninterrupted)
    # a key bias has no true gradient: Adam amplifies the rounding there
    for name in accumulated:
        tolerance = 1e-3 if name.endswith("qkv.bias") else 2e-5
        torch.testing.assert_close(accumulated[name], whole[name], rtol=0, atol=tolerance)


def test_a_resumed_run_must_be_the_same_run(uninterrupted, tiny_recipe):
    changed = load_config(tiny_recipe, ["train.seed=4", "optimizer.weight_decay=0.1", "train.num_workers=1"])
    with pytest.raises(ConfigError) as error:
        run(changed, uninterrupted, resume=True)
    assert "these keys differ" in str(error.value)
    assert "train.seed: 3 in the checkpoint, 4 now" in str(error.value)
    assert "optimizer.weight_decay: 0.05 in the checkpoint, 0.1 now" in str(error.value)
    assert "num_workers" not in str(error.value)


def poison(monkeypatch, folder, spoil, *, steps_before):
    """Give what the task says of the step after `steps_before` to `spoil`."""
    true_losses = Pretraining.losses

    def losses(self, forward, batch, inputs, weights):
        found = true_losses(self, forward, batch, inputs, weights)
        return spoil(self, found) if len(read_metrics(folder / "metrics.jsonl")) == steps_before else found

    monkeypatch.setattr(Pretraining, "losses", losses)


def times_nan(task, losses):
    return Losses({name: loss * torch.nan for name, loss in losses.parts.items()})


class OverflowInBackward(torch.autograd.Function):
    """A finite number whose gradient is not."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad * torch.inf


def with_infinite_gradients(task, losses):
    return Losses({name: OverflowInBackward.apply(loss) for name, loss in losses.parts.items()})


@pytest.mark.parametrize("clip_grad", ["null", "1.0"])
@pytest.mark.parametrize(
    ("spoil", "problem"), [(times_nan, "the loss is nan"), (with_infinite_gradients, "the norm of its gradients is (nan|inf)")]
)
def test_what_is_not_finite_stops_with_the_weights_from_before(tiny_recipe, tmp_path, monkeypatch, spoil, problem, clip_grad):
    folder = tmp_path / "diverged"
    poison(monkeypatch, folder, spoil, steps_before=3)
    config = load_config(tiny_recipe, ["train.checkpoint_steps=auto", f"train.clip_grad={clip_grad}"])
    with pytest.raises(MaeError, match=rf"step 4: .*{problem}.*The weights from before it are in \S+step-00000003\.pt"):
        run(config, folder)
    names = (folder / "non_finite_batch.txt").read_text().splitlines()
    assert len(names) == 8
    assert all(name.endswith(".jpg") for name in names)
    before = load_checkpoint(list_checkpoints(folder)[0])
    assert before.step == 3
    assert all(bool(weight.isfinite().all()) for weight in before.model.values())
    assert "step 4" in json.loads((folder / "run.json").read_text())["status"]


def test_weights_that_are_not_finite_are_never_saved(tiny_recipe, tmp_path, monkeypatch):
    folder = tmp_path / "diverged"

    def spoil_weights(task, losses):
        task.model.backbone.encoder.norm.bias.data.fill_(torch.inf)
        return times_nan(task, losses)

    poison(monkeypatch, folder, spoil_weights, steps_before=3)
    with pytest.raises(MaeError, match=r"were no longer finite before it; the newest checkpoint is \S+step-00000002\.pt"):
        run(load_config(tiny_recipe, ["train.checkpoint_steps=2"]), folder)
    assert [path.name for path in list_checkpoints(folder)] == ["step-00000002.pt"]


def test_a_first_step_that_is_not_finite_leaves_no_checkpoint(tiny_recipe, tmp_path, monkeypatch):
    poison(monkeypatch, tmp_path / "run", times_nan, steps_before=0)
    with pytest.raises(MaeError, match="step 1: the loss is nan"):
        run(load_config(tiny_recipe), tmp_path / "run")
    assert list_checkpoints(tmp_path / "run") == []


def test_a_crash_is_told_in_the_run_folder(tiny_recipe, tmp_path):
    def crash(step):
        raise RuntimeError("the display broke")

    with pytest.raises(RuntimeError, match="the display broke"):
        run(load_config(tiny_recipe), tmp_path / "run", on_step=crash)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped: RuntimeError: the display broke"


def test_a_run_is_not_resumed_with_other_data(tiny_recipe, tmp_path, photos):
    data = spoil(photos, tmp_path / "data", num_bad=0)
    config = load_config(tiny_recipe, [f"data.image.root={data}"])
    with pytest.raises(Interrupted):
        run(config, tmp_path / "run", on_step=interrupt_at(2))
    next(data.iterdir()).unlink()
    with pytest.raises(ConfigError, match=r"it had \{'image': 24\} samples, but now there are \{'image': 23\}"):
        run(config, tmp_path / "run", resume=True)


def test_halves_of_checkpoints_are_removed_on_resume(tiny_recipe, tmp_path):
    with pytest.raises(Interrupted):
        run(load_config(tiny_recipe), tmp_path / "run", on_step=interrupt_at(2))
    half = tmp_path / "run" / "checkpoints" / ".step-00000004.pt.x7f"
    half.write_bytes(b"half")
    run(load_config(tiny_recipe), tmp_path / "run", resume=True)
    assert not half.exists()


def spoil(photos, folder, *, num_bad):
    """A copy of the photographs with some cut short."""
    folder.mkdir()
    for index, path in enumerate(sorted(photos.iterdir())):
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[: len(data) // 2] if index < num_bad else data)
    return folder


def test_unreadable_samples_are_replaced_counted_and_listed(photos, tiny_recipe, tmp_path):
    data = spoil(photos, tmp_path / "data", num_bad=1)
    (data / "a letter.jpg").write_text("Dear reader")
    logs = []
    for num_workers in (0, 2):
        folder = tmp_path / f"workers-{num_workers}"
        run(load_config(tiny_recipe, [f"data.image.root={data}", f"train.num_workers={num_workers}"]), folder)
        logs.append((folder / "bad_samples.jsonl").read_text())
    entries = [json.loads(line) for line in logs[0].splitlines()]
    assert {Path(entry["sample"]).name for entry in entries} == {"photo-00.jpg", "a letter.jpg"}
    assert all(entry["reason"] and Path(entry["replaced_by"]).exists() for entry in entries)
    assert logs[0] == logs[1]


def test_too_many_unreadable_samples_stop_the_run(photos, tiny_recipe, tmp_path):
    data = spoil(photos, tmp_path / "data", num_bad=12)
    with pytest.raises(MaeError, match=r"of the first \d+ samples could not be read, more than train.max_bad_share=0.05"):
        run(load_config(tiny_recipe, [f"data.image.root={data}"]), tmp_path / "run")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_nothing_readable_stops_at_once(photos, tiny_recipe, tmp_path, num_workers):
    data = spoil(photos, tmp_path / "data", num_bad=24)
    config = load_config(tiny_recipe, [f"data.image.root={data}", f"train.num_workers={num_workers}"])
    with pytest.raises(MaeError, match=r"10 samples in a row cannot be read; the last one: .*\.jpg"):
        run(config, tmp_path / "run")


def test_a_batch_larger_than_the_data_is_refused(tiny_recipe, tmp_path):
    with pytest.raises(
        ConfigError, match=r"24 samples an epoch do not fill one batch of train\.batch_size=4096.*train\.batch_size=2$"
    ):
        run(load_config(tiny_recipe, ["train.batch_size=4096"]), tmp_path / "run")


def test_two_processes_do_not_share_a_folder(tiny_config, tmp_path):
    with run_lock(tmp_path), pytest.raises(MaeError, match="another process is writing to"):
        run(tiny_config, tmp_path)


def test_a_checkpoint_is_a_whole_model(uninterrupted):
    model, config, step = load_model(uninterrupted)
    assert step == NUM_STEPS
    assert config["train.seed"] == 3
    assert not model.training
    x = torch.zeros(1, 3, 24, 32)
    assert model({"image": x}).pred["image"].shape == (1, 9, 192)


def test_a_checkpoint_needs_its_plugins(uninterrupted, monkeypatch):
    loaded = [plugin for plugin in registry().plugins if plugin.name == "core"]
    monkeypatch.setattr(registry(), "plugins", loaded)
    with pytest.raises(MaeError, match=r"was made with plugin image 0\.1\.0, which is not loaded; .*mae install image"):
        load_model(uninterrupted)


def test_a_checkpoint_of_another_plugin_version_says_which(uninterrupted, monkeypatch):
    changed = [dataclasses.replace(p, version="0.2.0") if p.name == "image" else p for p in registry().plugins]
    monkeypatch.setattr(registry(), "plugins", changed)
    message = r"was made with plugin image 0\.1\.0; 0\.2\.0 is installed; for the other: mae install 'mae-image==0\.1\.0'"
    with pytest.warns(UserWarning, match=message):
        load_model(uninterrupted)
