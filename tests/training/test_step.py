"""Precision, clipping, compilation and skipped steps, through the trainer; one device that decides alone."""

import math

import pytest
import torch
from lightning_fabric import Fabric
from running import first_step, interrupt_at, run
from torch import nn

from mae_core import load_config
from mae_core.interfaces import Losses
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics
from mae_core.tasks.pretraining import Pretraining
from mae_core.training import trainer as trainer_module
from mae_core.training import world as world_module
from mae_core.training.devices import Autocast, make_fabric
from mae_core.training.interrupts import Interrupted
from mae_core.training.settings import TrainSettings
from mae_core.training.world import World
from mae_registry import ConfigError, MaeError


def entries(folder):
    return read_metrics(folder / "metrics.jsonl")


def weights(folder):
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    return checkpoint.model


@pytest.mark.parametrize(("norm", "factor"), [(1e-3, 1.0), (100.0, None)])
def test_gradients_are_scaled_down_to_the_norm_and_the_log_has_the_true_one(tiny_recipe, tmp_path, norm, factor):
    free, entry = first_step(load_config(tiny_recipe), tmp_path / "free")
    clipped, same = first_step(load_config(tiny_recipe, [f"train.clip_grad={norm}"]), tmp_path / "clipped")
    true_norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in free.values()))
    assert entry["grad_norm"] == pytest.approx(true_norm, rel=1e-5)
    assert same["grad_norm"] == entry["grad_norm"]
    assert 1e-3 < true_norm < 100
    for name, gradient in clipped.items():
        torch.testing.assert_close(gradient, free[name] * (norm / true_norm if factor else 1), rtol=1e-3, atol=1e-9)


def test_bfloat16_trains_as_float32_does_and_keeps_weights_in_float32(tiny_recipe, tmp_path):
    for precision in ("32-true", "bf16-mixed"):
        config = load_config(tiny_recipe, [f"train.precision={precision}", "train.device_batch_size=4", "train.clip_grad=1.0"])
        run(config, tmp_path / precision)
    exact, rounded = ([entry["loss"] for entry in entries(tmp_path / name)] for name in ("32-true", "bf16-mixed"))
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=5e-3)
    assert {tensor.dtype for tensor in weights(tmp_path / "bf16-mixed").values()} == {torch.float32}


def test_autocast_leaves_what_a_model_is_given_as_it_is():
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[Autocast("bf16-mixed", "cpu")])
    seen = []

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x, *, weights):
            seen.append((x.dtype, weights["a"].dtype))
            return self.linear(x)

    model = fabric.setup_module(Model())
    assert model(torch.ones(1, 2), weights={"a": torch.tensor(1.0, dtype=torch.float64)}).dtype == torch.float32
    assert seen == [(torch.float32, torch.float64)]


def test_half_precision_needs_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"train\.precision=16-mixed needs a GPU"):
        make_fabric(TrainSettings(epochs=1, batch_size=1, precision="16-mixed"))


@pytest.fixture
def overflowing(monkeypatch):
    """fp16 on the CPU, with a loss that is scaled up too far at first."""
    scaler = torch.amp.grad_scaler.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-14)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[Autocast("16-mixed", "cpu", scaler=scaler)])
    monkeypatch.setattr(world_module, "make_fabric", lambda settings: fabric)
    return scaler


@pytest.mark.parametrize("clip_grad", ["null", "1.0"])
def test_steps_that_overflow_in_half_precision_are_skipped(tiny_recipe, tmp_path, overflowing, monkeypatch, clip_grad):
    moved, after, true_after = [], [], Pretraining.after_step

    def after_step(self, step, num_steps):
        after.append(step)
        true_after(self, step, num_steps)

    monkeypatch.setattr(Pretraining, "after_step", after_step)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *_, true=torch.optim.AdamW.step: (moved.append(1), true(self)))
    run(load_config(tiny_recipe, [f"train.clip_grad={clip_grad}"]), tmp_path / "run")
    norms = [entry.get("grad_norm", math.nan) for entry in entries(tmp_path / "run")]
    skipped = [step for step, norm in enumerate(norms) if not math.isfinite(norm)]
    assert 0 < len(skipped) < 6
    assert skipped == list(range(len(skipped)))  # at first
    assert after == list(range(len(skipped), 12))  # teachers do not move in a step that was not taken
    assert len(moved) == 12 - len(skipped)
    assert all(math.isfinite(entry["loss"]) for entry in entries(tmp_path / "run"))
    assert all(bool(tensor.isfinite().all()) for tensor in weights(tmp_path / "run").values())


def test_gradients_that_overflow_at_any_scale_stop_the_run(tiny_recipe, tmp_path, overflowing, monkeypatch):
    true_losses = Pretraining.losses

    def losses(self, forward, batch, inputs, weights):
        found = true_losses(self, forward, batch, inputs, weights)
        return Losses({name: loss + (loss - loss.detach()) * torch.inf for name, loss in found.parts.items()})

    monkeypatch.setattr(Pretraining, "losses", losses)
    with pytest.raises(MaeError, match="the loss is nan"):
        run(load_config(tiny_recipe), tmp_path / "nan")

    def steep(self, forward, batch, inputs, weights):
        found = true_losses(self, forward, batch, inputs, weights)
        return Losses({name: loss + torch.exp((loss - loss.detach()) * 1e38) * 1e3 for name, loss in found.parts.items()})

    monkeypatch.setattr(Pretraining, "losses", steep)
    with pytest.raises(MaeError, match=r"step [4-9]: .*the norm of its gradients is"):
        run(load_config(tiny_recipe), tmp_path / "steep")
    assert overflowing.get_scale() < 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch's own compiler
def test_compiled_blocks_train_alike_and_keep_their_names(tiny_recipe, tmp_path, monkeypatch):
    compiled = []

    def compile_eagerly(self, true=nn.Module.compile):
        compiled.append(type(self).__name__)
        true(self, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_eagerly)
    for name in ("false", "true"):
        run(load_config(tiny_recipe, [f"train.compile={name}", "train.num_pictures=0"]), tmp_path / name)
        assert len(compiled) == (4 if name == "true" else 0)  # two blocks in the encoder, two in the decoder
    plain, fast = (weights(tmp_path / name) for name in ("false", "true"))
    assert plain.keys() == fast.keys()
    losses = [[entry["loss"] for entry in entries(tmp_path / name)] for name in ("false", "true")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_what_auto_chose_is_kept_on_resume(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "choose_device_batch", lambda *_, **__: 2)
    with pytest.raises(Interrupted):
        run(load_config(tiny_recipe), tmp_path / "run", on_step=interrupt_at(3))

    def fail(*_, **__):
        raise AssertionError("chosen again")

    monkeypatch.setattr(trainer_module, "choose_device_batch", fail)
    run(load_config(tiny_recipe), tmp_path / "run", resume=True)
    checkpoint = load_newest(tmp_path / "run")
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.training["device_batch_size"]) == (12, {"image": 2})


def test_one_device_has_all_rows_writes_and_decides_alone():
    world = World(Fabric(accelerator="cpu", devices=1))
    assert (world.rank, world.size, world.is_writer) == (0, 1, True)
    assert world.share(7) == range(7)
    total = world.sum([{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 5.0])}])
    assert total["a"].tolist() == [4.0, 7.0]
    losses = Losses({"a": torch.tensor(1.0), "b": torch.tensor(2.5)}, {"m": torch.tensor(0.25)})
    decision = world.decide(losses, torch.tensor(9.0), num_bad=3, signal=15, save=True)
    assert decision.losses == {"a": 1.0, "b": 2.5}
    assert (decision.loss, decision.metrics, decision.grad_norm) == (3.5, {"m": 0.25}, 9.0)
    assert (decision.num_bad, decision.signal, decision.save) == (3, 15, True)
