"""Which parts of a classifier are trained, in what mode the others are, and the average of its weights."""

import copy

import pytest
import torch

from mae_core import load_config
from mae_core.build import build_backbone
from mae_core.model.classifier import Classifier
from mae_core.registry import build_component
from mae_registry import ConfigError


@pytest.fixture
def model(tiny_recipe):
    config = load_config(tiny_recipe, ["model.encoder.drop_path=0.5", "model.encoder.final_norm=true"])
    torch.manual_seed(0)
    backbone = build_backbone(config)
    return Classifier(backbone, build_component("heads", {"name": "linear", "norm": "batch", "init_std": 0.1}, 32, 3))


def tuned_names(model):
    return {name for name, parameter in model.backbone.encoder.named_parameters() if parameter.requires_grad}


def parts_of(names):
    return {".".join(name.split(".")[:3]) for name in names}


def test_the_last_blocks_are_tuned_with_what_follows_them(model):
    every = tuned_names(model)
    last = {name for name in every if name.startswith("blocks.1.")}
    norm = {"norm.weight", "norm.bias"}
    model.tune(1)
    assert tuned_names(model) == last | norm
    model.tune(0.5)
    assert tuned_names(model) == {name for name in last if ".mlp." in name or ".norm2." in name} | norm
    assert parts_of(tuned_names(model) - norm) == {"blocks.1.mlp", "blocks.1.norm2"}
    model.tune(2)
    assert tuned_names(model) == {name for name in every if name.startswith("blocks.")} | norm
    model.tune(0)
    assert tuned_names(model) == set()
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert all(parameter.requires_grad for parameter in model.head.parameters())


@pytest.mark.parametrize("number", [1.5, 3, 0.25])
def test_what_is_no_number_of_blocks(model, number):
    with pytest.raises(ConfigError, match=rf"task\.tuned={number}: must be all, 0, 0\.5, or a whole.*the encoder has 2"):
        model.tune(number)


def test_frozen_parts_stay_in_evaluation_mode_and_keep_no_graph(model):
    model.tune(1)
    model.train()
    blocks = model.backbone.encoder.blocks
    assert not any(module.training for module in blocks[0].modules())
    assert blocks[1].training
    assert model.head.norm.training
    inputs = []
    blocks[1].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    scores = model({"image": torch.rand(4, 3, 24, 32)})
    assert not inputs[0].requires_grad
    assert scores.requires_grad
    model.tune(0)
    latents = []
    model.head.register_forward_pre_hook(lambda module, args: latents.append(args[0].x))
    for _ in range(2):  # no path is dropped at random
        model({"image": torch.full((4, 3, 24, 32), 0.3)})
    assert not latents[0].requires_grad
    assert torch.equal(*latents)


def test_the_average_follows_weights_and_buffers(model):
    model.begin_average()
    expected = {name: tensor.clone() for name, tensor in model.average.state_dict().items()}
    for _ in range(3):
        model.train()
        model({"image": torch.rand(4, 3, 24, 32)})  # moves the statistics of the batch norm
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        own = copy.deepcopy(model.state_dict())
        model.follow(0.9)
        for name, tensor in expected.items():
            expected[name] = 0.9 * tensor + 0.1 * own[name] if tensor.is_floating_point() else own[name]
    found = model.average.state_dict()
    assert found.keys() == expected.keys()
    assert float((found["head.norm.running_mean"]).abs().max()) > 0
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
    assert model.best is model.average
    model.train()
    assert not any(module.training for module in model.average.modules())
    assert not any(parameter.requires_grad for parameter in model.average.parameters())
    assert int(found["head.norm.num_batches_tracked"]) == 3
