"""What `Meter` counts, against torch's own counter and by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_core.cost.meter import Meter, Tally


def measure(model: nn.Module, run: Callable[[], Tensor], **watched: nn.Module) -> Meter:
    meter = Meter(list(model.parameters()))
    for name, module in watched.items():
        meter.watch(module, "forward", name)
    with meter:
        with meter.saving():
            loss = run()
        meter.backward(loss)
    return meter


def test_each_part_has_its_own_passes():
    first, second = nn.Linear(5, 7), nn.Linear(7, 3)
    model, x = nn.Sequential(first, nn.GELU(), second), torch.randn(4, 5)
    meter = measure(model, lambda: model(x).sum(), first=first, second=second)
    product = {"first": 2 * 4 * 5 * 7, "second": 2 * 4 * 7 * 3}
    assert meter.tallies["first"] == Tally(product["first"], product["first"], saved=4 * 4 * 5)  # x needs no gradient
    assert meter.tallies["second"] == Tally(product["second"], 2 * product["second"], saved=4 * 4 * 7)
    assert meter.tallies["other"] == Tally(0, 0, saved=4 * 4 * 7)  # what goes into the GELU
    assert meter.copied == 0


def test_what_runs_inside_a_part_is_that_parts():
    inner = nn.Linear(4, 4)
    outer = nn.Sequential(inner, nn.Linear(4, 2))
    meter = measure(outer, lambda: outer(torch.randn(3, 4)).sum(), inner=inner, outer=outer)
    assert set(meter.tallies) == {"outer"}


def test_copies_of_weights_are_not_the_samples():
    model, x = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 8)), torch.randn(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        meter = measure(model, lambda: model(x).float().sum())
    assert meter.copied == 2 * 8 * 8  # of the first one's weights, for whose input there is no gradient, none is kept
    assert meter.tallies["other"].saved == 2 * 4 * (16 + 8)


def test_frozen_parts_have_no_backward_pass():
    model = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2))
    meter = measure(model, lambda: model(torch.randn(3, 4)).sum(), frozen=model[0], tuned=model[1])
    assert meter.tallies["frozen"] == Tally(forward=2 * 3 * 4 * 4)
    assert meter.tallies["tuned"].backward == 2 * 3 * 4 * 2


def test_fused_attention_counts_like_its_two_products():
    q, k, v = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 9, 9))
    fused, plain = Meter([]), FlopCounterMode(display=False)
    for backend, counter in ((SDPBackend.FLASH_ATTENTION, fused), (SDPBackend.MATH, plain)):
        with sdpa_kernel(backend), counter:
            nn.functional.scaled_dot_product_attention(q, k, v).sum().backward()
    assert plain.get_total_flops() == sum(tally.forward + tally.backward for tally in fused.tallies.values())
    assert plain.get_total_flops() == 3 * 2 * (2 * 2 * 3 * 5 * 9 * 8)


@pytest.mark.parametrize("groups", [1, 4])
def test_convolutions(groups: int):
    model = nn.Conv2d(8, 12, 3, groups=groups, bias=False)
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    meter = measure(model, lambda: model(x).sum())
    forward = 2 * (2 * 12 * 4 * 4) * (8 // groups * 9)
    assert meter.tallies["other"].forward == forward
    assert meter.tallies["other"].backward == 2 * forward


def test_memory_that_is_used_again_is_counted_again():
    """Of graphs that are thrown away, one after the other, which may lie at the same address."""
    weight = torch.randn(64, 64, requires_grad=True)
    meter = Meter([weight])
    with meter, meter.saving():
        for _ in range(5):
            (torch.randn(64, 64) @ weight).sum()
    assert meter.tallies["other"].saved == 5 * 4 * 64 * 64
