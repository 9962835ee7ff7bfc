"""Masks in a terminal, as characters without colours, so that pipes and logs show them too."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mae_core.interfaces import Grid
    from mae_core.pictures.mask_samples import DrawnSet

SYMBOLS = ("█", "·", "▓", " ")
"""The states of `mask_samples.STATES`: visible; hidden and predicted; visible and predicted; hidden and not predicted."""
GAP = "  "
MAX_HEIGHT = 48

Rows = list[str]


def picture(drawn: "DrawnSet", grid: "Grid", *, width: int) -> list[str]:
    """Lines of text that show some masks, and how often each position is hidden, in tenths."""
    from mae_core.pictures.mask_samples import frames

    every = frames(grid, limit=grid.num_patches)
    _, num_rows, num_columns = every.ids.shape
    if num_columns > width or num_rows > MAX_HEIGHT:
        return [f"(a grid of {num_rows} x {num_columns} is too large for this terminal; -o FILE.png writes a picture)"]
    is_flat = grid.num_patches == num_rows * num_columns
    cell = 2 if is_flat and 2 * 2 * num_columns + len(GAP) <= width else 1
    labels = ["predicted, in tenths"] if is_flat else every.labels
    panel = max(cell * num_columns, *map(len, labels))
    num_panels = max(1, (width + len(GAP)) // (panel + len(GAP)))
    shown = frames(grid, limit=num_panels)
    maps = [("hidden, in tenths", drawn.hidden_share)]
    if not drawn.predicts_the_hidden:
        maps.append(("predicted, in tenths", drawn.predicted_share))
    tenths = [(label, _tenths(values)) for label, values in maps]
    if is_flat:
        num_examples = min(len(drawn.examples), max(1, num_panels - len(maps)))
        examples = [(f"draw {index + 1}", _symbols(drawn.examples[index])) for index in range(num_examples)]
        panels = [_panel(label, values, shown.ids[0], cell) for label, values in examples + tenths]
        return [line for start in range(0, len(panels), num_panels) for line in _beside(panels[start : start + num_panels])]
    lines: list[str] = []
    for heading, values in [("draw 1", _symbols(drawn.examples[0])), *tenths]:
        panels = [_panel(label, values, ids, cell) for label, ids in zip(shown.labels, shown.ids, strict=True)]
        lines += [f"{heading}:", *_beside(panels)]
    return lines


def legend(drawn: "Sequence[DrawnSet]") -> str:
    """The meaning of the symbols that occur in the masks."""
    from mae_core.pictures.mask_samples import states_in

    symbols = [symbol * 2 if symbol.strip() else "blank" for symbol in SYMBOLS]
    return "   ".join(f"{symbols[state]} {name}" for state, name in states_in(drawn).items())


def _symbols(states: "Tensor") -> list[str]:
    return [SYMBOLS[state] for state in states.tolist()]


def _tenths(shares: "Tensor") -> list[str]:
    """(N,) -> N rounded digits, with "X" for always."""
    return ["X" if share == 1 else str(min(round(share * 10), 9)) for share in shares.tolist()]


def _panel(label: str, values: list[str], ids: "Tensor", cell: int) -> Rows:
    """A label and the rows of a picture, all of one length. Blocks are doubled so that they touch."""
    rows = ["".join(_widened(values[place], cell) for place in row) for row in ids.tolist()]
    width = max(len(rows[0]), len(label))
    return [line.ljust(width) for line in (label, *rows)]


def _widened(symbol: str, cell: int) -> str:
    return symbol * cell if symbol in "█▓" else symbol.ljust(cell)


def _beside(panels: Sequence[Rows]) -> list[str]:
    return [GAP.join(rows).rstrip() for rows in zip_longest(*panels, fillvalue="")]
