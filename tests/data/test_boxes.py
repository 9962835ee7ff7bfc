"""Boxes to crop: their distribution, and that they lie inside."""

import math
import statistics
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.data.boxes import Box, central_box, check_range, largest_box, random_box
from mae_registry import ConfigError

RATIO = (3 / 4, 4 / 3)


def draw_box(
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = RATIO,
    aspect: float = 1.0,
    random: Random | None = None,
) -> Box:
    return random_box(height, width, scale=scale, ratio=ratio, aspect=aspect, random=random or Random(0))


def test_area_is_uniform_and_ratio_log_uniform() -> None:
    random = Random(0)
    boxes = [draw_box(1000, 1000, scale=(0.2, 0.6), random=random) for _ in range(4000)]
    areas = sorted(box.height * box.width / 1e6 for box in boxes)
    log_ratios = sorted(math.log(box.width / box.height) for box in boxes)
    for values, low, high in ((areas, 0.2, 0.6), (log_ratios, math.log(3 / 4), math.log(4 / 3))):
        uniform = [low + (high - low) * (i + 0.5) / len(values) for i in range(len(values))]
        distance = max(abs(value - expected) for value, expected in zip(values, uniform, strict=True)) / (high - low)
        assert distance < 1.63 / math.sqrt(len(values)) + 0.005  # Kolmogorov-Smirnov at 1%, plus whole pixels
    # every place that the box fits in, to the last row and column
    assert statistics.mean(box.top / (1000 - box.height) for box in boxes) == pytest.approx(0.5, abs=0.02)
    assert statistics.mean(box.left / (1000 - box.width) for box in boxes) == pytest.approx(0.5, abs=0.02)
    small = [draw_box(4, 4, scale=(0.25, 0.25), ratio=(1.0, 1.0), random=random) for _ in range(200)]
    assert {(box.top, box.left) for box in small} == {(top, left) for top in range(3) for left in range(3)}


@given(height=st.integers(1, 600), width=st.integers(1, 600), seed=st.integers(0, 10**6))
def test_boxes_lie_inside(height: int, width: int, seed: int) -> None:
    for box in (draw_box(height, width, random=Random(seed)), largest_box(height, width, like=(seed % 50 + 1, 20))):
        assert 0 <= box.top < box.top + box.height <= height
        assert 0 <= box.left < box.left + box.width <= width


def test_what_is_drawn_for_a_seed_stays_the_same() -> None:
    """Demos' losses were written down with these."""
    drawn = [draw_box(300, 400, random=Random(seed)) for seed in range(3)]
    assert drawn == [Box(16, 124, 272, 237), Box(97, 16, 174, 212), Box(0, 1, 299, 387)]
    assert draw_box(300, 400, aspect=3.0, random=Random(2)) == Box(43, 78, 112, 264)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (90, 1000, Box(0, 440, 90, 120)),  # too wide: the central 4:3
        (1000, 90, Box(440, 0, 120, 90)),  # too high: the central 3:4
        (1, 500, Box(0, 249, 1, 1)),
    ],
)
def test_a_strip_that_fits_no_box_gives_its_centre(height: int, width: int, expected: Box) -> None:
    assert draw_box(height, width, scale=(1.0, 1.0)) == expected


def test_a_square_that_fits_no_box_is_taken_as_far_as_its_ratio_goes() -> None:
    assert draw_box(30, 30, scale=(1.0, 1.0), ratio=(0.5, 0.5)) == Box(0, 7, 30, 15)
    assert draw_box(30, 30, scale=(1.0, 1.0), ratio=(1.0, 1.0)) == Box(0, 0, 30, 30)


def test_ratio_is_relative_to_the_sample() -> None:
    box = draw_box(400, 400, scale=(0.1, 0.1), ratio=(1.0, 1.0), aspect=4.0)
    assert box.width / box.height == pytest.approx(4, abs=0.05)


def test_the_largest_box_touches_two_opposite_edges() -> None:
    assert largest_box(240, 320, like=(2, 2)) == Box(0, 40, 240, 240)
    assert largest_box(240, 320, like=(1, 2)) == Box(40, 0, 160, 320)
    assert central_box(5, 5, 2, 5) == Box(1, 0, 2, 5)


def test_a_box_cuts_the_last_two_axes() -> None:
    planes = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    assert torch.equal(Box(1, 2, 2, 3).cut(planes), planes[:, :, 1:3, 2:5])


@pytest.mark.parametrize("bounds", [(0.9, 0.2), (0.5, 1.5), (0.0, 1.0), (math.nan, 1.0)])
def test_ranges_are_checked(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"^crop_scale is \[.*two numbers above 0, at most 1, the lower one first$"):
        check_range("crop_scale", bounds, upper=1.0)
    check_range("crop_ratio", (0.1, 1.5))


def test_a_single_try_is_cut_to_fit() -> None:
    """The crop of MAE's linear probe, written out: the same numbers give the same box."""
    for seed in range(300):
        random = Random(seed)
        area = 40 * 90 * random.uniform(0.08, 1.0)
        drawn = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        height, width = min(40, round(math.sqrt(area / drawn))), min(90, round(math.sqrt(area * drawn)))
        expected = Box(random.randint(0, 40 - height), random.randint(0, 90 - width), height, width)
        ours = random_box(40, 90, scale=(0.08, 1.0), ratio=RATIO, aspect=1.0, random=Random(seed), single_try=True)
        assert ours == expected
    assert random_box(1, 1, scale=(0.08, 0.08), ratio=RATIO, aspect=1.0, random=Random(0), single_try=True) == Box(0, 0, 1, 1)
