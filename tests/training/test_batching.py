"""Trying how many samples fit, which leaves the model as it was."""

import torch
from lightning_fabric import Fabric
from running import assert_same_bits
from tones import register_tones

from mae_core import load_config
from mae_core.training.batching import _fits, _repeated
from mae_core.training.plan import Key
from mae_core.training.preflight import build_task
from mae_core.training.stream import Samples


def test_a_trial_leaves_no_trace_in_what_a_batch_norm_remembers(tiny_recipe) -> None:
    register_tones()
    task_section = "task={name: classify, head: {name: linear, norm: batch}}"
    task = build_task(load_config(tiny_recipe, [task_section, "data.image=null", "data.image={name: tones}"]))
    task.open_data()
    task.build_model(fresh=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    model = fabric.setup(task.model.train())
    sample = Samples(task.sources, 0)[Key("image", 0, 0)].to(fabric.device)
    batch = _repeated(sample, 4)
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    assert _fits(task, "image", batch, 4, fabric, model)
    assert_same_bits(before, task.model.state_dict())
    assert all(parameter.grad is None for parameter in task.model.parameters())
    inputs = task.begin("image", 4, generator=torch.Generator(), progress=0.0)
    task.losses(model, task.normalize(batch), inputs, {"rows": torch.tensor(4.0)})
    assert int(task.model.state_dict()["head.norm.num_batches_tracked"]) == 1
