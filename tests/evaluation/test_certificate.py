"""A certificate that cannot be fooled."""

import math

import torch

from mae_core.evaluation.certificate import largest_error, worst
from mae_core.interfaces import Check


def test_nan_is_the_worst_wherever_it_stands():
    for errors in ([math.nan, 1e-7], [1e-7, math.nan]):
        assert math.isnan(worst(errors))
        assert not Check("weights", worst(errors), 1e-5).passed
    assert worst([1e-7, 3e-7, 2e-7]) == 3e-7


def test_other_shapes_do_not_compare():
    assert largest_error(torch.zeros(1), torch.zeros(3)) == math.inf
    assert math.isnan(largest_error(torch.tensor([0.0, math.nan]), torch.zeros(2)))
