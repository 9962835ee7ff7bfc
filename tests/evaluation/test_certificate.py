"""A certificate that cannot be fooled."""

import math

import torch

from mae_core.evaluation.certificate import heads_that_agree, largest_error, largest_error_of, worst
from mae_core.interfaces import Check
from mae_core.layouts.shapes import transformer


def test_nan_is_the_worst_wherever_it_stands():
    for errors in ([math.nan, 1e-7], [1e-7, math.nan]):
        assert math.isnan(worst(errors))
        assert not Check("weights", worst(errors), 1e-5).passed
    assert worst([1e-7, 3e-7, 2e-7]) == 3e-7


def test_other_shapes_do_not_compare():
    assert largest_error(torch.zeros(1), torch.zeros(3)) == math.inf
    assert math.isnan(largest_error(torch.tensor([0.0, math.nan]), torch.zeros(2)))


def test_other_names_do_not_compare():
    one, two = {"a": torch.zeros(2)}, {"a": torch.zeros(2), "b": torch.zeros(1)}
    assert largest_error_of(one, two) == math.inf
    assert largest_error_of(two, one) == math.inf
    assert largest_error_of(one, {"a": torch.tensor([0.0, 0.5])}) == 0.5


def test_sizes_of_a_transformer_are_read_from_its_weights():
    shapes = {"blocks.0.mlp.fc1.weight": (36, 12), "blocks.10.norm.bias": (12,), "decoder_blocks.0.norm.bias": (8,)}
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    assert transformer(weights, "blocks", heads=3) == {"width": 12, "depth": 2, "heads": 3, "mlp_ratio": 3}


def test_heads_that_a_file_does_not_state_are_found():
    assert heads_that_agree([6, 4], lambda *heads: 0.0 if heads == (3, 2) else math.nan) == (3, 2)
    assert heads_that_agree([6], lambda heads: abs(heads - 2.5)) == (2,)
