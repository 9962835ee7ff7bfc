from random import Random

import torch
from torchvision.transforms.v2.functional import adjust_brightness

from mae_image.colors import jitter_color


def noise() -> torch.Tensor:
    return torch.randint(60, 190, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_without_strength_nothing_changes_and_nothing_is_drawn():
    random = Random(0)
    assert jitter_color(noise(), 0.0, random=random).equal(noise())
    assert random.getstate() == Random(0).getstate()


def test_each_factor_is_in_range_and_all_three_are_changed(monkeypatch):
    calls = []

    def recorder(name):
        return lambda image, factor: calls.append((name, factor)) or image

    names = ("brightness", "contrast", "saturation")
    monkeypatch.setattr("mae_image.colors.ADJUST", tuple(recorder(name) for name in names))
    for seed in range(300):
        jitter_color(noise(), 0.4, random=Random(seed))
    orders = {tuple(name for name, _ in calls[start : start + 3]) for start in range(0, len(calls), 3)}
    assert len(orders) == 6
    assert all(sorted(order) == sorted(names) for order in orders)
    factors = [factor for _, factor in calls]
    assert 0.6 <= min(factors) < 0.62
    assert 1.38 < max(factors) <= 1.4


def test_brightness_alone_scales_the_values(monkeypatch):
    monkeypatch.setattr("mae_image.colors.ADJUST", (adjust_brightness,))
    jittered = jitter_color(noise(), 0.25, random=Random(3)).float()
    ratio = jittered.sum() / noise().float().sum()
    assert 0.75 <= ratio <= 1.25
    assert (jittered - noise().float() * ratio).abs().max() <= 1.5


def test_grey_photographs_stay_of_one_channel():
    grey = noise()[:1]
    assert jitter_color(grey, 0.4, random=Random(1)).shape == grey.shape
