"""Maskers made of others hold their parts' parameters, and the views of them that are drawn with share these."""

import copy

import pytest
import torch
from torch import nn
from trained_masker import Scored

from mae_core import Grid
from mae_core.interfaces import Guide, Latent, Mask, Masker
from mae_core.masking import RandomMasker
from mae_core.masking.compose import AllMasker, AnyMasker, InvertMasker, OneOfMasker, RepeatMasker
from mae_core.masking.schedule import Ramp, ScheduleMasker
from mae_registry import PluginError

GRID = Grid(h=4, w=5)
RAMP: Ramp = {"from": 0.2, "to": 0.8}


def latent(num_samples: int = 1) -> Latent:
    x = torch.randn(num_samples, 20, 3, generator=torch.Generator().manual_seed(0))
    return Latent(x, 0, torch.arange(20).expand(num_samples, -1), spans={"x": (0, 20)}, counts={"x": 20})


def scheduled(part: Masker) -> ScheduleMasker:
    return ScheduleMasker([part], ratio=RAMP)


COMPOSITES = {
    "any": lambda part: AnyMasker([part, RandomMasker(ratio=0.5)], ratio=0.6),
    "all": lambda part: AllMasker([part, RandomMasker(ratio=0.5)], ratio=0.4),
    "one_of": lambda part: OneOfMasker([RandomMasker(ratio=0.5), part], [1, 1]),
    "one_of per sample": lambda part: OneOfMasker([part, part], [1, 1], per="sample"),
    "invert": lambda part: InvertMasker([part]),
    "repeat": lambda part: RepeatMasker([part], times=3),
    "schedule": scheduled,
    "nested": lambda part: RepeatMasker([AnyMasker([InvertMasker([scheduled(part)])], ratio=0.5)], times=2),
}
every_composite = pytest.mark.parametrize("make", COMPOSITES.values(), ids=COMPOSITES.keys())


@every_composite
def test_parameters_of_parts_are_registered_and_trained(make) -> None:
    part = Scored(ratio=0.5)
    composite = make(part)
    assert {id(parameter) for parameter in composite.parameters()} == {id(part.score.weight), id(part.score.bias)}
    assert len(composite.state_dict()) >= 2
    assert composite.needs == "backbone"


@every_composite
def test_views_share_parameters_and_leave_the_original_as_it_is(make) -> None:
    composite = make(Scored(ratio=0.5))
    names, modules = list(composite.state_dict()), dict(composite.named_modules())
    parameters = {id(parameter) for parameter in composite.parameters()}
    views = [
        composite.at(0.3),
        composite.for_batch(torch.Generator()),
        composite.guided_by(Guide(torch.zeros(1, 20, 2), latent())),
    ]
    for view in [*views, *composite.cases()]:
        assert {id(parameter) for parameter in view.parameters()} <= parameters
    assert list(composite.state_dict()) == names
    assert all(module is modules[name] for name, module in composite.named_modules())


@every_composite
def test_a_guided_view_draws_and_the_original_stays_unguided(make) -> None:
    composite = make(Scored(ratio=0.5)).for_batch(torch.Generator().manual_seed(1))
    if composite.needs == "grid":
        return  # the batch is of the part that looks at nothing
    guided = composite.guided_by(Guide(torch.zeros(1, 20, 2), latent()))
    mask = guided(GRID, 1, generator=torch.Generator().manual_seed(0))
    assert isinstance(mask, Mask)
    assert mask.hidden.any()
    with pytest.raises(AssertionError, match="drawn without a guide"):
        composite(GRID, 1, generator=torch.Generator().manual_seed(0))


def test_without_a_schedule_a_masker_is_itself_at_all_times() -> None:
    for make in (COMPOSITES["any"], COMPOSITES["invert"], COMPOSITES["repeat"]):
        composite = make(RandomMasker(ratio=0.5))
        assert composite.at(0.4) is composite
    constant = ScheduleMasker([RandomMasker(ratio=0.5)], ratio=0.5)
    assert constant.at(0.4) is constant
    assert constant(GRID, 1, generator=torch.Generator()).hidden.sum() == 10
    assert InvertMasker([scheduled(RandomMasker(ratio=0.2))]).at(0.4) is not None


def test_a_schedule_changes_the_ratio_of_one_masker_with_one_set_of_parameters() -> None:
    part = Scored(ratio=0.2)
    schedule = scheduled(part)
    guide = Guide(torch.zeros(1, 20, 2), latent())
    counts = []
    for progress in (0.0, 0.5, 1.0):
        view = schedule.at(progress)
        assert isinstance(view, Scored)
        assert view.score is part.score
        counts.append(int(view.guided_by(guide)(GRID, 1, generator=torch.Generator().manual_seed(0)).hidden.sum()))
    assert counts == [4, 10, 17]
    assert part.ratio == 0.2
    with torch.no_grad():
        part.score.weight.neg_()  # an optimizer step is seen by the masks of all times
    assert schedule.at(0.7).get_parameter("score.weight") is part.score.weight


def test_a_schedule_over_a_composite_changes_that_ones_ratio() -> None:
    schedule = ScheduleMasker([AnyMasker([RandomMasker(ratio=0.5), RandomMasker(ratio=0.5)], ratio=0.2)], ratio=RAMP)
    counts = [int(schedule.at(time)(GRID, 1, generator=torch.Generator()).hidden.sum()) for time in (0.0, 1.0)]
    assert counts == [4, 17]


def test_a_view_is_copied_and_moved_without_the_original() -> None:
    composite = AnyMasker([Scored(ratio=0.5)], ratio=0.5)
    view = composite.view(parts=nn.ModuleList([RandomMasker(ratio=0.5)]))
    assert list(view.state_dict()) == []
    assert len(composite.state_dict()) == 2
    twin = copy.deepcopy(composite)
    assert {id(p) for p in twin.parameters()}.isdisjoint({id(p) for p in composite.parameters()})


def test_a_masker_that_keeps_its_ratio_elsewhere_says_so() -> None:
    class Hidden(Masker):
        def forward(self, grid, batch_size, *, generator):
            raise NotImplementedError

    with pytest.raises(PluginError, match="has no attribute `ratio`"):
        scheduled(Hidden()).at(0.5)


def test_the_most_that_a_part_needs_is_needed() -> None:
    grid, backbone = RandomMasker(ratio=0.5), Scored(ratio=0.5)
    patches = RandomMasker(ratio=0.5).view(needs="patches")
    assert AnyMasker([grid]).needs == "grid"
    assert AnyMasker([grid, patches]).needs == "patches"
    assert AnyMasker([patches, backbone, grid]).needs == "backbone"
