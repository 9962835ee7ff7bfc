"""Reconstructions to look at."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import Panel, facts, headings, panels


def write_picture(reconstructions: Sequence[Reconstruction], path: Path) -> Sequence[Path]:
    """Write a PNG: a row for each channel of each reconstruction, a column for each of its panels. Returns its path."""
    columns = headings(reconstructions)
    num_channels = len(reconstructions[0].sample)
    num_rows = len(reconstructions) * num_channels
    figure = Figure((4 * len(columns), 1.3 * num_rows + 0.6), layout="constrained")
    axes = figure.subplots(num_rows, len(columns), squeeze=False, sharex=True)
    for axis, heading in zip(axes[0], columns, strict=True):
        axis.set_title(fill(heading, 48), fontsize=9)
    for index, reconstruction in enumerate(reconstructions):
        rows = axes[index * num_channels : (index + 1) * num_channels]
        rows[0, 0].set_ylabel("\n".join(facts(reconstruction)), fontsize=8, parse_math=False)
        hidden = reconstruction.hidden.expand_as(reconstruction.sample)
        for channel, row in enumerate(rows):
            for axis, panel in zip(row, panels(reconstruction), strict=True):
                _plot(axis, panel, reconstruction.sample[channel], hidden[channel], channel)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))
    return [path]


def _plot(axis: Axes, panel: Panel, original: Tensor, hidden: Tensor, channel: int) -> None:
    """One channel of a panel, hidden spans shaded; behind what the model made of them, the original as a thin grey line."""
    steps = range(len(original))
    axis.fill_between(steps, 0, 1, where=hidden.tolist(), step="mid", color="0.9", transform=axis.get_xaxis_transform())
    if not panel.is_raw and not panel.values.isnan().any():
        axis.plot(steps, original.tolist(), color="0.6", linewidth=0.8)
    axis.plot(steps, panel.values[channel].tolist(), color="tab:blue", linewidth=1.2)
    axis.tick_params(labelsize=7)
