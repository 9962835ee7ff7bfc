"""`comparison.html`: several runs in one table and one plot."""

import io
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mae_core.runs.comparison import Group, spread
from mae_core.runs.curves import short, smooth, thin
from mae_core.runs.metrics import Points
from mae_core.runs.page import columns, picture, section, time, write_page
from mae_core.runs.results_page import is_share, metric_name

WIDTH = 9.0
ROW = 0.42
"""Inches, of which a picture has DPI pixels each."""
DPI = 110
MAX_DIFFERENCES = 4
COLOURS = ("#1f62a8", "#c2410c", "#15803d", "#7c3aed", "#a16207", "#be185d", "#0e7490", "#4b5563")


def table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: what ran, in what the runs differ, and what came out, "91.24 ± 0.12" where several seeds ran."""
    metrics = list(dict.fromkeys(name for group in groups for name in group.metrics))
    names = ["run", "what", "recipe", "differs in", "seeds", *map(metric_name, metrics), "last loss", "time"]
    rows = [
        [
            group.name,
            group.kind,
            group.runs[0].recipe,
            differences(group),
            ", ".join(map(str, group.seeds)) or "–",
            *(_measured(group, metric) for metric in metrics),
            "–" if group.loss is None else short(group.loss),
            time(group.seconds),
        ]
        for group in groups
    ]
    kept = [index for index in range(len(names)) if any(row[index] not in ("", "–") for row in rows)]
    return [names[index] for index in kept], [[row[index] for index in kept] for row in rows]


def differences(group: Group) -> str:
    """The keys in which it differs from others of its kind, each by its last parts."""
    items = [f"{'.'.join(key.split('.')[-2:])}={_shown(value)}" for key, value in group.differs.items()]
    more = len(items) - MAX_DIFFERENCES
    return ", ".join(items[:MAX_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def _shown(value: Any) -> str:
    return Path(value).name or value if isinstance(value, str) else "none" if value is None else str(value)


def _measured(group: Group, metric: str) -> str:
    values = group.metrics.get(metric)
    if not values:
        return "–"
    factor, end = (100, "%") if is_share(metric) else (1, "")
    digits = (lambda value: f"{factor * value:.2f}") if is_share(metric) else short
    deviation = spread(values)
    return digits(statistics.fmean(values)) + (end if deviation is None else f" ± {digits(deviation)}{end}")


def write_comparison(groups: Sequence[Group], path: Path) -> Path:
    """Write the page, and return its path."""
    names, rows = table(groups)
    title = f"Comparison of {sum(len(group.runs) for group in groups)} runs"
    figure = draw(groups)
    plot = "<p>There is nothing to draw yet.</p>" if figure is None else picture(_png(figure), _alt(groups))
    cells = [[escape(entry) for entry in row] for row in rows]
    note = "<p>Runs that differ by their seed alone are in one row, with the mean and the standard deviation of a sample.</p>"
    header = f"<header><h1>{escape(title)}</h1></header>"
    return write_page(path, title, [header, section("Table", columns(names, cells) + note), section("Plot", plot)])


def draw(groups: Sequence[Group]) -> Figure | None:
    """What was measured, where anything was; else the losses of pre-training. None where there is neither."""
    evaluated = [group for group in groups if group.metrics]
    if evaluated:
        return _draw_metrics(evaluated)
    trained = [group for group in groups if any(run.losses for run in group.runs)]
    return _draw_losses(trained) if trained else None


def _draw_metrics(groups: Sequence[Group]) -> Figure:
    """A row each: every seed as a light dot, their mean as a dark one with its standard deviation."""
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(groups)), layout="constrained")
    axes: Axes = figure.add_subplot()
    for row, group in enumerate(groups):
        metric, values = next(iter(group.metrics.items()))
        shown = [100 * value if is_share(metric) else value for value in values]
        axes.plot(shown, [row] * len(shown), "o", color=COLOURS[0], alpha=0.35, markeredgewidth=0)
        axes.errorbar(statistics.fmean(shown), row, xerr=spread(shown), fmt="o", color=COLOURS[0], capsize=3)
    axes.set_yticks(range(len(groups)), [_label(group) for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    metrics = dict.fromkeys(next(iter(group.metrics)) for group in groups)
    axes.set_xlabel(" / ".join(f"{metric_name(name)}{', %' if is_share(name) else ''}" for name in metrics))
    return _plain(figure, axes)


def _draw_losses(groups: Sequence[Group]) -> Figure:
    """A colour for each group, a line for each of its runs."""
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    axes: Axes = figure.add_subplot()
    for number, group in enumerate(groups):
        for index, run in enumerate(run for run in group.runs if run.losses):
            line = thin(Points(run.losses.steps, smooth(run.losses.values)))
            label = _label(group) if index == 0 else None
            axes.plot(line.steps, line.values, color=COLOURS[number % len(COLOURS)], label=label)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (running mean)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return _plain(figure, axes)


def _label(group: Group) -> str:
    """Two lines at most: the names of the runs, and in what they differ from others."""
    return "\n".join(_shorten(line) for line in (group.name, differences(group) or group.kind))


def _shorten(text: str, limit: int = 46) -> str:
    # "$" begins a formula
    return (text if len(text) <= limit else f"{text[: limit - 1]}…").replace("$", r"\$")


def _plain(figure: Figure, axes: Axes) -> Figure:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _alt(groups: Sequence[Group]) -> str:
    return f"A plot of {', '.join(group.name for group in groups)}; its numbers are in the table"
