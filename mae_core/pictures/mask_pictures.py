"""Pictures of maskers: some masks, and how often each position is hidden."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.pictures.mask_samples import (
    STATES,
    DrawnSet,
    Frames,
    Look,
    curve,
    describe,
    frames,
    heading,
    note_on,
    source,
    states_in,
)
from mae_core.pictures.mask_subjects import Subject, one_line
from mae_registry import MaeError

WIDTH, LEFT, RIGHT, GAP, FRAME_GAP = 9.0, 0.7, 0.75, 0.2, 0.08
"""Inches, of `DPI` pixels."""
DPI = 110
MAX_CELL, MIN_CELL = 14, 5
"""Pixels of a patch's side: the most, and the least with which patches can be told apart."""
MIN_BAR = 0.5
PANELS_IN_A_LINE = 5
MAX_SIZE = 256
STATE_COLOURS = ListedColormap(["#1d4e89", "#f2b45a", "#8a5a9e", "#e4e7ec"])
SHARE_COLOURS = LinearSegmentedColormap.from_list("share", ["#1d4e89", "#f7f5f0", "#e08e1b"])
"""The colours from never hidden to always hidden."""
PREDICTED_COLOURS = LinearSegmentedColormap.from_list("predicted", ["#e4e7ec", "#e08e1b"])
GREY = "#5b6472"


@dataclass(frozen=True)
class _Panel:
    values: Tensor
    """(H, W): states, or shares."""
    label: str
    colours: Colormap


@dataclass
class _Page:
    """What stands one below the other: heights in inches, and what puts each into a figure, given its lower edge."""

    parts: list[tuple[float, Callable[[Figure, float], object]]] = field(default_factory=list)

    def add(self, height: float, put: Callable[[Figure, float], object] = lambda figure, bottom: None) -> None:
        self.parts.append((height, put))

    def figure(self) -> Figure:
        top = sum(height for height, _ in self.parts)
        figure = Figure((WIDTH, top), dpi=DPI, facecolor="white")
        for height, put in self.parts:
            top -= height
            put(figure, top)
        return figure


def write_picture(subjects: Sequence[tuple[Subject, Sequence[Look]]], path: Path, *, seed: int) -> None:
    """A PNG of maskers and their draws, one below the other. Raises MaeError if the file cannot be written."""
    figure = compose(subjects, seed=seed)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def compose(subjects: Sequence[tuple[Subject, Sequence[Look]]], *, seed: int) -> Figure:
    """What `write_picture` writes. Raises MaeError for a grid that is too large for one."""
    page = _Page()
    page.add(0.15)
    for subject, looks in subjects:
        if max(subject.grid.sizes) > MAX_SIZE:
            raise MaeError(
                f"the grid {subject.grid} is too large for a picture, which can show at most {MAX_SIZE} patches along an axis"
            )
        _add_subject(page, subject, looks, seed)
    return page.figure()


def _add_subject(page: _Page, subject: Subject, looks: Sequence[Look], seed: int) -> None:
    lines = textwrap.wrap(one_line(subject.section), 118, break_long_words=False, break_on_hyphens=False)
    groups = [(heading(each, index), drawn) for each in looks for index, drawn in enumerate(each.sets)]
    _add_text(page, subject.title, size=12, weight="bold")
    for line in lines if lines != [subject.title] else []:
        _add_text(page, line, size=8, family="monospace")
    _add_text(page, source(subject, looks, seed), size=8.5, color=GREY)
    for name, drawn in groups:
        page.add(0.04)
        _add_text(page, f"{name}{describe(drawn)}", size=8.5)
        if note := note_on(subject, drawn):
            _add_text(page, note, size=8.5, color=GREY)
        _add_group(page, frames(subject.grid), drawn, num_groups=len(groups))
    _add_legend(page, [drawn for _, drawn in groups])
    _add_plot(page, subject, *groups[-1], seed=seed)
    page.add(0.15)


def _add_text(
    page: _Page, text: str, *, size: float, color: str = "black", weight: str = "normal", family: str = "sans-serif"
) -> None:
    height = size / 72 * 1.5

    def put(figure: Figure, bottom: float) -> None:
        figure.text(
            0.2, bottom + height / 4, text, fontsize=size, color=color, weight=weight, family=family, parse_math=False,
            transform=figure.dpi_scale_trans,
        )  # fmt: skip

    page.add(height, put)


def _add_group(page: _Page, shown: Frames, drawn: DrawnSet, *, num_groups: int) -> None:
    """Some masks, then the maps: in one line if that is wide enough for all, else each in a line of its own."""
    num_frames, _, num_columns = shown.ids.shape
    maps = [("how often hidden", drawn.hidden_share, SHARE_COLOURS)]
    if not drawn.predicts_the_hidden:
        maps.append(("how often predicted", drawn.predicted_share, PREDICTED_COLOURS))
    cell = _cell(PANELS_IN_A_LINE, num_columns, GAP)
    in_one_line = num_frames == 1 and cell >= MIN_CELL
    num_examples = min(len(drawn.examples), PANELS_IN_A_LINE - len(maps) if in_one_line else max(1, 4 - num_groups))
    rows = [(f"draw {index + 1}", drawn.examples[index], STATE_COLOURS) for index in range(num_examples)]
    if in_one_line:
        panels = [_Panel(values[shown.ids[0]], label, colours) for label, values, colours in [*rows, *maps]]
        _add_line(page, panels, cell, gap=GAP)
        return
    cell = _cell(num_frames, num_columns, FRAME_GAP)
    for index, (name, values, colours) in enumerate([*rows, *maps]):
        labels = shown.labels if index == 0 else [""] * num_frames
        panels = [_Panel(values[ids], label, colours) for ids, label in zip(shown.ids, labels, strict=True)]
        _add_line(page, panels, cell, gap=FRAME_GAP, heading=name.replace(" often ", "\noften\n"))


def _cell(num_panels: int, num_columns: int, gap: float) -> int:
    """Pixels of a patch's side, so that a line of panels has room."""
    room = WIDTH - LEFT - RIGHT - gap * (num_panels - 1)
    return min(int(room * DPI / num_panels / num_columns), MAX_CELL)


def _add_line(page: _Page, panels: Sequence[_Panel], cell: int, *, gap: float, heading: str = "") -> None:
    num_rows, num_columns = panels[0].values.shape
    height, width = num_rows * cell / DPI, num_columns * cell / DPI
    colours = panels[-1].colours
    is_map = colours is not STATE_COLOURS

    def put(figure: Figure, bottom: float) -> None:
        for index, panel in enumerate(panels):
            left = LEFT + index * (width + gap)
            figure.figimage(_pixels(panel, cell), round(left * DPI), round(bottom * DPI), origin="upper")
            _label(figure, left + width / 2, bottom + height + 0.1, panel.label, ha="center")
        _label(figure, LEFT - 0.08, bottom + height / 2, heading, ha="right")
        if is_map:
            scale = _axes(figure, LEFT + len(panels) * (width + gap) - gap + 0.1, bottom, 0.09, max(height, MIN_BAR))
            figure.colorbar(ScalarMappable(cmap=colours), scale, ticks=[0, 0.5, 1], format=PercentFormatter(1))
            scale.tick_params(labelsize=7, length=2, colors=GREY)

    page.add(0.25 if panels[0].label else 0.1)
    page.add(max(height, MIN_BAR if is_map else 0), put)


def _label(figure: Figure, x: float, y: float, text: str, *, ha: Literal["center", "right"]) -> None:
    figure.text(x, y, text, ha=ha, va="center", fontsize=8, color=GREY, transform=figure.dpi_scale_trans)


def _pixels(panel: _Panel, cell: int) -> NDArray[np.uint8]:
    """(H * cell, W * cell, 4), with thin lines between the patches where these are large enough."""
    highest = len(STATES) - 1 if panel.colours is STATE_COLOURS else 1
    pixels = panel.colours(panel.values.numpy() / highest, bytes=True).repeat(cell, axis=0).repeat(cell, axis=1)
    if cell >= MIN_CELL:
        pixels[cell - 1 :: cell] = pixels[:, cell - 1 :: cell] = 255
    return pixels


def _add_legend(page: _Page, drawn: Sequence[DrawnSet]) -> None:
    names = states_in(drawn)
    handles = [Patch(color=STATE_COLOURS(state), label=name) for state, name in names.items()]

    def put(figure: Figure, bottom: float) -> None:
        corner = (LEFT / WIDTH, (bottom + 0.05) / figure.get_figheight())
        figure.legend(
            handles=handles, loc="lower left", bbox_to_anchor=corner, ncols=len(STATES), fontsize=8, frameon=False,
            borderaxespad=0, borderpad=0, handlelength=1, handleheight=1,
        )  # fmt: skip

    page.add(0.32, put)


def _add_plot(page: _Page, subject: Subject, name: str, drawn: DrawnSet, *, seed: int) -> None:
    """How the hidden share changes over training, or how many patches are hidden where that differs from draw to draw."""
    num_hidden = drawn.num_hidden
    varies = int(num_hidden.min()) != int(num_hidden.max())
    if not subject.is_scheduled and not varies:
        return

    def put(figure: Figure, bottom: float) -> None:
        axes = _axes(figure, LEFT, bottom + 0.3, 4.0, 0.9)
        if subject.is_scheduled:
            times, shares = curve(subject, seed=seed)
            axes.plot(times, shares, color="#e08e1b", linewidth=1.8)
            axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_title("share hidden, over training's progress", fontsize=8, color=GREY, loc="left")
        else:
            values, counts = num_hidden.unique(return_counts=True)
            axes.bar(
                values.tolist(), counts.tolist(), color="#e08e1b", width=max(0.9, (values.max() - values.min()).item() / 60)
            )
            axes.set_title(f"{name}draws, by the number of hidden patches", fontsize=8, color=GREY, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=7, length=2, colors=GREY)
        axes.spines[["top", "right"]].set_visible(False)

    page.add(1.5, put)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
