import pytest
import torch
from torch import nn

from mae_core.parts.optimizers import adamw, weight_decay_groups
from mae_core.parts.schedules import Cosine


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
