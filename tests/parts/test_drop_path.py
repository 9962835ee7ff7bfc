"""Drop path of the encoder: what it leaves out, when, and that a run with it resumes exactly."""

import pytest
import torch
from running import assert_same_bits, interrupt_at, run, world_of
from timm.layers.drop import DropPath as TimmDropPath
from torch import nn

from mae_core import build_model, load_config
from mae_core.parts.blocks import DropPath, make_block
from mae_core.parts.vit_encoder import ViTEncoder
from mae_core.runs.checkpoint import load_newest
from mae_core.training.devices import compile_blocks
from mae_core.training.interrupts import Interrupted
from mae_core.training.preflight import build_task
from mae_core.training.trainer import Trainer


def test_a_branch_is_left_out_of_some_samples_and_scaled_up_in_the_others() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(20_000, 2, 3)
    factors = drop(x).flatten(1)
    assert (factors == factors[:, :1]).all()
    kept = factors[:, 0] > 0
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 1 / 0.75))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert drop.eval()(x) is x


def test_it_is_the_one_of_timm_but_for_its_random_numbers() -> None:
    ours, theirs = make_block(8, 2, 2.0, drop_path=0.3), make_block(8, 2, 2.0)
    theirs.drop_path1, theirs.drop_path2 = TimmDropPath(0.3), TimmDropPath(0.3)
    theirs.load_state_dict(ours.state_dict())
    torch.manual_seed(0)
    x = torch.randn(1, 5, 8)
    outcomes = [{round(float(block(x).detach().sum()), 4) for _ in range(150)} for block in (ours, theirs)]
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 4  # each of two branches is there or not


@pytest.mark.parametrize(("depth", "rate", "rates"), [(5, 0.2, [0, 0.05, 0.1, 0.15, 0.2]), (1, 0.2, [0]), (3, 0.0, [0, 0, 0])])
def test_the_rate_rises_linearly_over_the_blocks(depth: int, rate: float, rates: list[float]) -> None:
    encoder = ViTEncoder({}, width=8, depth=depth, heads=2, drop_path=rate)
    found = []
    for block in encoder.blocks:
        first, second = block.get_submodule("drop_path1"), block.get_submodule("drop_path2")
        assert type(first) is type(second)
        found.append(1 - first.keep.item() if isinstance(first, DropPath) else 0.0)
        assert isinstance(first, DropPath) == (found[-1] > 0)
    assert found == pytest.approx(rates, abs=1e-6)


def test_it_changes_nothing_in_evaluation_and_neither_names_nor_weights() -> None:
    config = {"extends": "image/mae_vit_base", "model": {"encoder": {"width": 32, "depth": 3, "heads": 2}}}
    size = "model.modalities.image.tokenizer.input_size=[32, 32]"
    torch.manual_seed(0)
    plain = build_model(load_config(config, [size])).eval().backbone
    torch.manual_seed(0)
    dropping = build_model(load_config(config, [size, "model.encoder.drop_path=0.9"])).eval().backbone
    assert_same_bits(plain.state_dict(), dropping.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.encode({"image": x}).x, dropping.encode({"image": x}).x)
    assert not torch.equal(plain.encode({"image": x}).x, dropping.train().encode({"image": x}).x)


def test_a_run_with_it_resumes_with_the_same_bits(tiny_recipe, tmp_path) -> None:
    def weights(folder):
        checkpoint = load_newest(folder)
        assert checkpoint is not None
        return checkpoint.model

    config = load_config(tiny_recipe, ["model.encoder.drop_path=0.5", "train.device_batch_size=4", "train.num_pictures=0"])
    run(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(config, tmp_path / "parts", on_step=interrupt_at(5))
    run(config, tmp_path / "parts", resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    run(load_config(tiny_recipe, ["train.device_batch_size=4", "train.num_pictures=0"]), tmp_path / "without")
    name = "backbone.encoder.blocks.0.mlp.fc1.weight"
    assert not torch.equal(weights(tmp_path / "whole")[name], weights(tmp_path / "without")[name])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch's own compiler
def test_blocks_of_all_rates_are_compiled_once(monkeypatch) -> None:
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    monkeypatch.setattr(nn.Module, "compile", lambda self, true=nn.Module.compile: true(self, backend=backend))
    torch._dynamo.reset()
    encoder = ViTEncoder({}, width=8, depth=12, heads=2, drop_path=0.3)
    compile_blocks(encoder)
    x = torch.randn(2, 5, 8)
    for block in encoder.blocks:
        x = block(x)
    assert len(compiled) == 2  # the first block drops nothing


@pytest.mark.parametrize(("rate", "num_devices", "is_told"), [(0.1, 2, True), (0.1, 1, False), (0.0, 2, False)])
def test_a_run_of_several_devices_says_that_each_draws_its_own(tiny_recipe, tmp_path, rate, num_devices, is_told) -> None:
    config = load_config(tiny_recipe, [f"model.encoder.drop_path={rate}"])
    task = build_task(config)
    task.open_data()
    trainer = Trainer(task, config, tmp_path, world=world_of(config))
    trainer.world.size = num_devices  # and no more of the devices, which the summary does not ask
    assert ("drop path draws its own random numbers on each device" in trainer.summary()) == is_told
