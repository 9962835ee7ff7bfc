"""Curves of numbers over steps, as HTML with inline SVG: no script, no file, no network.

The lines are SVG that stretches with the page; the labels are HTML placed in per cent, so that they stay readable on a phone.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_core.runs.metrics import Floats, Points

MAX_POINTS = 1000
NUM_TICKS = 5


def draw_curve(title: str, points: Points, *, smoothed: bool = False, from_zero: bool = False, height: int = 150) -> str:
    """A `<figure>` of `points`, `height` CSS pixels high, with the last value labelled.

    With `smoothed` the values are light and their running mean is bold. The few that are far off all others are counted but lie
    outside the picture, so that one spike does not flatten the curve. `from_zero` shows the zero, however far it is.
    """
    if not points:
        return f'<figure class="curve"><figcaption><b>{escape(title)}</b> nothing recorded</figcaption></figure>'
    steps, values = points.steps, points.values
    line = Points(steps, smooth(values)) if smoothed else points
    x_range = _widen(_extent(steps), 0)
    shown = _extent(_without_outliers(values), line.values, np.zeros(int(from_zero)))
    y_range = _widen(shown, 0.04)
    if from_zero:
        y_range = (shown[0], y_range[1])
    num_outside = int(np.count_nonzero((values < y_range[0]) | (values > y_range[1])))
    last = short(float(line.values[-1]))
    paths = (f'<path class="raw" d="{_path(points, x_range, y_range)}"/>' if smoothed else "") + (
        f'<path class="bold" d="{_path(line, x_range, y_range)}"/>'
    )
    notes = ["light: every step, bold: running mean"] * smoothed + [f"far off and not shown: {num_outside}"] * (num_outside > 0)
    summary = f"{title}: {short(values[0])} at step {steps[0]:,}, {last} at step {steps[-1]:,}"
    place = _place((float(steps[-1]), float(line.values[-1])), x_range, y_range)
    return (
        f'<figure class="curve"><figcaption><b>{escape(title)}</b> {"; ".join(notes)}</figcaption>'
        f'<div class="plot" style="height:{height}px">{_axes(x_range, y_range, paths, summary)}'
        f'<i class="dot" style="{place}"></i><span class="last" style="{place}">{last}</span></div>'
        '<p class="axis">optimizer step</p></figure>'
    )


def smooth(values: Floats) -> Floats:
    """Mean of the values around each one, a twenty-fifth of the curve wide (fewer than 50 values: the values themselves).

    The width shrinks towards the start, so that a steep beginning keeps its place; at the end only earlier values are there.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    width = np.minimum(len(values) // 50, places)
    first, behind = places - width, np.minimum(places + width + 1, len(values))
    return (sums[behind] - sums[first]) / (behind - first)


def thin(points: Points, limit: int = MAX_POINTS) -> Points:
    """At most `limit` points: the first, the last, and lowest and highest of equal stretches between, so that spikes stay."""
    if len(points) <= limit:
        return points
    num_stretches = limit // 2 - 1
    num_inner = len(points) - 2
    kept = [0]
    for i in range(num_stretches):
        first = 1 + i * num_inner // num_stretches
        stretch = points.values[first : 1 + (i + 1) * num_inner // num_stretches]
        kept += sorted({first + int(stretch.argmin()), first + int(stretch.argmax())})
    kept.append(len(points) - 1)
    return Points(points.steps[kept], points.values[kept])


def ticks(low: float, high: float, num: int = NUM_TICKS) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, at most `num` + 1."""
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
    return [float(f"{i * apart:.12g}") for i in range(first, last + 1)]


def short(value: float) -> str:
    """Four digits that count: 0.4321, 1.5e-4, 12,346."""
    if value and abs(value) < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _without_outliers(values: Floats) -> Floats:
    """Less the values that are farther off than half the distance between the lowest and the highest of the middle 99%."""
    ordered = np.sort(values)
    num_tail = len(ordered) // 200
    low, high = ordered[num_tail], ordered[-1 - num_tail]
    margin = (high - low) / 2
    return values[(low - margin <= values) & (values <= high + margin)]


def _extent(*parts: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest of all parts, some of which may be empty."""
    filled = [part for part in parts if len(part)]
    return float(min(part.min() for part in filled)), float(max(part.max() for part in filled))


def _widen(extent: tuple[float, float], padding: float) -> tuple[float, float]:
    """`padding` (a share of the distance) farther apart; never equal."""
    low, high = extent
    margin = padding * (high - low) if high > low else abs(low) / 2 or 0.5
    return low - margin, high + margin


def _percent(value: float, extent: tuple[float, float]) -> float:
    return 100 * (value - extent[0]) / (extent[1] - extent[0])


def _place(point: tuple[float, float], x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    return f"left:{_percent(point[0], x_range):.2f}%;top:{100 - _percent(point[1], y_range):.2f}%"


def _path(points: Points, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    """The path of an SVG line, in a picture of 1000 by 1000."""
    thinned = thin(points)
    places = zip(thinned.steps.tolist(), thinned.values.tolist(), strict=True)
    pairs = (f"{10 * _percent(x, x_range):.1f} {1000 - 10 * _percent(y, y_range):.1f}" for x, y in places)
    return "M" + "L".join(pairs)


def _axes(x_range: tuple[float, float], y_range: tuple[float, float], paths: str, summary: str) -> str:
    grid, labels = [], []
    for value, text in _labelled(ticks(*y_range)):
        top = 100 - _percent(value, y_range)
        grid.append(f"M0 {10 * top:.1f}H1000")
        labels.append(f'<span class="y" style="top:{top:.2f}%">{text}</span>')
    for value, text in _labelled([tick for tick in ticks(*x_range) if tick.is_integer()]):
        left = _percent(value, x_range)
        grid.append(f"M{10 * left:.1f} 0V1000")
        labels.append(f'<span class="x" style="left:{left:.2f}%">{text}</span>')
    return (
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{escape(summary)}">'
        f'<path class="grid" d="{"".join(grid)}"/>{paths}</svg>{"".join(labels)}'
    )


def _labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """The ticks of one axis, with equally many digits: 0.50, 0.55; 1.5e-4; 20k."""
    largest = max(abs(value) for value in values)
    if largest < 1e-3:
        return [(value, short(value)) for value in values]
    if largest >= 1e4:
        return [(value, f"{value / 1000:g}k" if value else "0") for value in values]
    num_digits = max(len(f"{value:.12g}".partition(".")[2]) for value in values)
    return [(value, f"{value:.{num_digits}f}") for value in values]
