import copy

import pytest
import torch
from torch import nn

from mae_core.interfaces import Encoder, Latent
from mae_core.parts.optimizers import Lars, adamw, lars, layer_decay_groups, weight_decay_groups
from mae_core.parts.schedules import Cosine
from mae_core.training.step import Scheduled
from mae_registry import ConfigError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.unmask_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def names(group, model):
    return [name for name, parameter in model.named_parameters() if any(parameter is p for p in group["params"])]


def test_biases_and_vectors_are_not_decayed_and_tokens_are():
    model = Model()
    without, with_decay = weight_decay_groups(model, 0.05)
    assert (without["weight_decay"], names(without, model)) == (0.0, ["linear.bias"])
    assert (with_decay["weight_decay"], names(with_decay, model)) == (0.05, ["mask_token", "unmask_token", "linear.weight"])


def test_parameters_can_be_exempted_by_name():
    model = Model()
    without, _ = adamw(model, 256, base_lr=1e-3, no_decay=["mask_token"]).param_groups
    assert names(without, model) == ["mask_token", "linear.bias"]


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1e-4), (5, 5.5e-4), (10, 1e-3), (15, 2e-4 + 8e-4 * 0.5), (20, 2e-4)])
def test_cosine_goes_from_warmup_lr_over_the_peak_to_min_lr(epoch, expected):
    schedule = Cosine(20, warmup_epochs=10, warmup_lr=1e-4, min_lr=2e-4)
    assert schedule(epoch, 1e-3) == pytest.approx(expected)


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.04), (5, 0.04 + 0.36 * 0.1464466), (10, 0.22), (20, 0.4)])
def test_cosine_raises_weight_decay_over_the_whole_run(epoch, expected):
    schedule = Cosine(20, warmup_epochs=10, initial_weight_decay=0.04)
    assert schedule.weight_decay(epoch, 0.4) == pytest.approx(expected)


def test_weight_decay_is_the_optimizers_throughout_unless_said_otherwise():
    schedule = Cosine(20, warmup_epochs=10)
    assert [schedule.weight_decay(epoch, 0.05) for epoch in (0, 7.5, 20)] == [0.05] * 3


def test_every_group_follows_the_schedule_from_its_own_peak_and_exempt_ones_stay_exempt():
    optimizer = adamw(Model(), 256, lr=1e-3, weight_decay=0.4)
    optimizer.param_groups[1]["lr"] = 1e-4
    scheduled = Scheduled(optimizer, Cosine(20, warmup_epochs=10, initial_weight_decay=0.04))
    for epoch in (20, 10):  # not from what was set before
        assert scheduled.set(epoch) == pytest.approx(0 if epoch == 20 else 1e-3)
    without, with_decay = optimizer.param_groups
    assert (without["weight_decay"], without["lr"]) == (0.0, pytest.approx(1e-3))
    assert (with_decay["weight_decay"], with_decay["lr"]) == (pytest.approx(0.22), pytest.approx(1e-4))


class Tower(Encoder):
    """Three blocks, and what may be around them."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 2))
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.norm = nn.LayerNorm(2)

    def forward(self, visible, *, layers=()) -> Latent:
        raise NotImplementedError


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.encoder = Tower()
        self.backbone.inputs = nn.ModuleDict({"left": nn.Linear(2, 2), "right": nn.Linear(2, 2)})
        self.head = nn.Linear(2, 2)


def rates(groups, model):
    return {name: group["lr"] for group in groups for name in names(group, model)}


def test_each_layer_learns_at_a_share_of_the_next_ones_rate():
    model = Classifier()
    groups = layer_decay_groups(model, 16.0, 0.5, 0.1, no_decay=["cls_token"])
    expected = {"backbone.encoder.cls_token": 1.0, "head": 16.0, "backbone.encoder.norm": 16.0}
    expected |= {f"backbone.encoder.blocks.{index}": 2.0 ** (index + 1) for index in range(3)}
    expected |= {"backbone.inputs.left": 1.0, "backbone.inputs.right": 1.0}
    found = rates(groups, model)
    assert found == {
        name: next(rate for begin, rate in expected.items() if name.startswith(begin)) for name, _ in model.named_parameters()
    }
    decayed = {name for group in groups if group["weight_decay"] == 0.1 for name in names(group, model)}
    assert decayed == {name for name in found if name.endswith("weight") and "norm" not in name}
    assert all(group["lr"] == 16.0 * group["lr_scale"] for group in groups)


def test_frozen_layers_are_in_no_group_and_leave_the_others_their_rates():
    model = Classifier()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("blocks.0" not in name and "blocks.2" not in name)
    found = rates(layer_decay_groups(model, 16.0, 0.5, 0.1), model)
    assert found["backbone.encoder.blocks.1.bias"] == 4.0
    assert not any("blocks.0" in name or "blocks.2" in name for name in found)


def test_layer_decay_needs_an_encoder():
    with pytest.raises(ConfigError, match=r"optimizer\.layer_decay"):
        adamw(Model(), 1, lr=1e-3, layer_decay=0.5)


@pytest.mark.parametrize("epoch", [0, 5, 10, 13, 20])
def test_a_layers_rate_is_its_share_of_the_schedules_also_at_the_end(epoch):
    schedule = Cosine(20, warmup_epochs=10, min_lr=1e-4)
    optimizer = adamw(Classifier(), 1, lr=1e-3, layer_decay=0.5)
    assert Scheduled(optimizer, schedule).set(epoch) == pytest.approx(schedule(epoch, 1e-3), rel=1e-14)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(group["lr_scale"] * schedule(epoch, 1e-3), rel=1e-14)
    assert {group["lr_scale"] for group in optimizer.param_groups} == {1 / 16, 1 / 8, 1 / 4, 1 / 2, 1}


def lars_step(weights, gradients, momenta, *, lr, momentum, weight_decay, trust):
    """The published rule, one parameter after the other, in float64."""
    for name, weight in weights.items():
        gradient = gradients[name].double()
        if weight.ndim > 1:
            gradient = gradient + weight_decay * weight
            size, slope = weight.square().sum().sqrt(), gradient.square().sum().sqrt()
            if size > 0 and slope > 0:
                gradient = trust * size / slope * gradient
        momenta[name] = momentum * momenta.get(name, 0) + gradient
        weights[name] = weight - lr * momenta[name]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_lars_follows_the_published_rule(weight_decay):
    torch.manual_seed(0)
    model = nn.ModuleDict({"first": nn.Linear(4, 3), "zero": nn.Linear(3, 3), "flat": nn.Linear(3, 2)})
    nn.init.zeros_(model.get_parameter("zero.weight"))
    optimizer = lars(model, 512, base_lr=2.0, momentum=0.8, weight_decay=weight_decay, trust_coefficient=0.01)
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    momenta = {}
    for step in range(5):
        gradients = {name: torch.randn_like(p) * (name != "flat.weight") for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            p.grad = gradients[name]
        optimizer.param_groups[0]["lr"] = 4.0 / (1 + step)
        optimizer.step()
        lars_step(weights, gradients, momenta, lr=4.0 / (1 + step), momentum=0.8, weight_decay=weight_decay, trust=0.01)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.detach(), weights[name].float(), rtol=1e-5, atol=1e-6)
    assert bool((model.get_parameter("flat.weight") != 0).any())


def test_lars_scales_its_rate_with_the_batch_and_leaves_frozen_weights_alone():
    model = Model()
    optimizer = lars(model, 16384, base_lr=0.1)
    assert isinstance(optimizer, Lars)
    (group,) = optimizer.param_groups
    assert group["lr"] == pytest.approx(6.4)
    assert names(group, model) == ["mask_token", "unmask_token", "linear.weight", "linear.bias"]


def test_lars_goes_on_from_its_saved_state():
    def steps(model, optimizer, first, last):
        for step in range(first, last):
            for index, p in enumerate(model.parameters()):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + index))
            optimizer.step()

    torch.manual_seed(0)
    model, again = nn.Linear(4, 3), nn.Linear(4, 3)
    optimizer = lars(model, 1, lr=0.5)
    steps(model, optimizer, 0, 3)
    resumed = lars(again, 1, lr=0.5)
    again.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer, 3, 6)
    steps(again, resumed, 3, 6)
    assert torch.equal(model.weight, again.weight)
    assert torch.equal(model.bias, again.bias)
