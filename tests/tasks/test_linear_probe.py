"""Linear probing through the trainer, as `image/linprobe_base` has it: LARS, BatchNorm, a frozen encoder."""

import pytest
import torch
from running import assert_same_bits, interrupt_at, run
from tones import register_tones

from mae_core import load_config
from mae_core.runs.checkpoint import load_newest
from mae_core.training.interrupts import Interrupted

PROBE = [
    "task={name: classify, tuned: 0, head: {name: linear, pool: cls, norm: batch, init_std: 0.01}}",
    "optimizer={name: lars, base_lr: null, lr: 0.5}",
    "data.image=null",
    "data.image={name: tones}",
    "train.num_pictures=0",
]


def state(folder):
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    return checkpoint


def test_it_resumes_with_the_same_bits_and_moves_the_head_alone(tiny_recipe, tmp_path):
    register_tones()
    config = load_config(tiny_recipe, PROBE)
    run(config, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(config, tmp_path / "parts", on_step=interrupt_at(5))
    early = state(tmp_path / "parts")
    run(config, tmp_path / "parts", resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert_same_bits(whole.model, parts.model)
    moved = {name for name, tensor in whole.model.items() if not torch.equal(tensor, early.model[name])}
    assert moved == {
        "head.linear.weight",
        "head.linear.bias",
        "head.norm.running_mean",
        "head.norm.running_var",
        "head.norm.num_batches_tracked",
    }
    assert int(whole.model["head.norm.num_batches_tracked"]) == whole.step == 12
    momenta = [slot["momentum"] for slot in parts.training["optimizer"]["state"].values()]
    assert len(momenta) == 2
    assert all(bool(momentum.any()) for momentum in momenta)
