import pytest
import torch
from torch import nn

from mae_core.parts.optimizers import adamw, weight_decay_groups
from mae_core.parts.schedules import Cosine
from mae_core.training.step import Scheduled


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
