"""Every registered masker, and some made of others, with what is claimed of them: the table of test_every_masker.py."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mae_core import Grid
from mae_core.build_maskers import masker_from_section
from mae_core.interfaces import Masker

Count = Callable[[Grid], int]


@dataclass(frozen=True)
class Case:
    """A section, and its claims."""

    section: Mapping[str, Any]
    fits: Callable[[Grid], bool]
    """Whether it can mask a grid. Exactly these, unless `num_hidden` is None: then these at least."""
    num_hidden: Count | None = None
    """Patches hidden in each row; None where that varies, from batch to batch or (ragged) from row to row."""
    uniform: bool = True
    """Each patch is hidden equally often."""
    independent: bool = True
    """What one row hides says nothing about the others of its batch. Not where it shares a draw, e.g. the size of blocks."""

    @cached_property
    def masker(self) -> Masker:
        """As a recipe builds it."""
        return masker_from_section(self.section)


def size(grid: Grid, axes: str) -> int:
    """Positions over some axes; 1 over none."""
    return math.prod(grid[axis] for axis in axes)


def plane(grid: Grid) -> int:
    """Positions over the last two axes."""
    return math.prod(grid.sizes[-2:])


def tubes(grid: Grid) -> int:
    """Patches at each of them."""
    return grid.num_patches // plane(grid)


def over(axes: str, fits: Callable[[int], bool] = lambda num_positions: num_positions > 1) -> Callable[[Grid], bool]:
    """On grids that have these axes."""
    return lambda grid: set(axes) <= set(grid.axes) and fits(size(grid, axes))


def random(axes: str, ratio: float) -> dict[str, Any]:
    """Masks that vary along these axes only."""
    return {"name": "random", "over": list(axes), "ratio": ratio}


HAS_PLANE = over("hw")
ALL_THREE = over("thw")


def each_axis(at_least: int) -> Callable[[Grid], bool]:
    """On grids of three axes."""
    return lambda grid: len(grid.axes) == 3 and min(grid.sizes) >= at_least


REGISTERED: dict[str, list[Case]] = {
    "random": [
        Case(
            {"name": "random", "ratio": 0.75},
            lambda grid: grid.num_patches >= 4,
            lambda grid: grid.num_patches - int(grid.num_patches * 0.25),
        ),
        Case(
            {"name": "random", "ratio": 0.3, "truncate": "hidden"},
            lambda grid: grid.num_patches >= 4,
            lambda grid: int(grid.num_patches * 0.3),
        ),
        Case(random("hw", 0.5), HAS_PLANE, lambda grid: tubes(grid) * (plane(grid) - plane(grid) // 2)),
        Case(random("t", 0.5), over("t"), lambda grid: grid.num_patches // grid["t"] * (grid["t"] - grid["t"] // 2)),
        Case(
            {**random("hw", 0.5), "unit": [2, 2]},
            lambda grid: HAS_PLANE(grid) and grid["h"] % 2 == grid["w"] % 2 == 0 and plane(grid) >= 8,
            lambda grid: tubes(grid) * 4 * (plane(grid) // 4 - plane(grid) // 8),
        ),
    ],
    "grid": [
        Case(
            {"name": "grid", "every": 2},
            lambda grid: grid.num_patches > 1 and all(side == 1 or side % 2 == 0 for side in grid.sizes),
            lambda grid: grid.num_patches - math.prod(max(1, side // 2) for side in grid.sizes),
        )
    ],
    "block": [
        Case(
            {"name": "block", "ratio": 0.4},
            over("hw", lambda num_positions: num_positions >= 3),
            lambda grid: tubes(grid) * int(plane(grid) * 0.4),
            uniform=False,
        ),
        Case(
            {"name": "block", "ratio": 0.4, "over": ["t", "h", "w"]},
            over("thw", lambda num_positions: num_positions >= 3),
            lambda grid: int(grid.num_patches * 0.4),
            uniform=False,
        ),
        Case(
            {"name": "block", "ratio": 0.4, "exact": False},
            lambda grid: HAS_PLANE(grid) and min(grid["h"], grid["w"]) >= 6,  # on smaller ones hardly a rectangle fits
            uniform=False,
        ),
    ],
    "inverse_block": [
        Case(
            {"name": "inverse_block", "ratio": 0.75},
            over("hw", lambda num_positions: num_positions >= 4),
            lambda grid: tubes(grid) * (plane(grid) - plane(grid) // 4),
            uniform=False,
        )
    ],
    "multi_block": [
        Case(
            {"name": "multi_block", "min_keep": 1},
            lambda grid: HAS_PLANE(grid) and min(grid["h"], grid["w"]) >= 4,
            uniform=False,
            independent=False,
        ),
        Case(
            {"name": "multi_block", "reach_end": False, "min_keep": 1},
            lambda grid: HAS_PLANE(grid) and min(grid["h"], grid["w"]) >= 5,
            uniform=False,
            independent=False,
        ),
        Case(
            {
                "name": "multi_block",
                "targets": [{"num_blocks": 8, "scale": [0.15, 0.15]}, {"num_blocks": 2, "scale": [0.7, 0.7]}],
                "context_scale": None,
                "predict": "union",
                "min_keep": 1,
            },
            lambda grid: HAS_PLANE(grid) and min(grid["h"], grid["w"]) >= 4,
            uniform=False,
            independent=False,
        ),
    ],
    "running_cell": [
        Case(
            {"name": "running_cell", "ratio": 0.5},
            lambda grid: ALL_THREE(grid) and grid["h"] % 2 == grid["w"] % 2 == 0,
            lambda grid: tubes(grid) * plane(grid) // 2,
        )
    ],
}
"""By the name that they are registered under. A masker of a plugin, too, is not tested before it is here."""

COMBINED = {
    "any on disjoint axes": Case(
        {"any": [random("t", 0.5), random("hw", 0.75)]},
        lambda grid: over("t")(grid) and over("hw", lambda num_positions: num_positions >= 4)(grid),
        lambda grid: grid.num_patches - grid["t"] // 2 * (plane(grid) // 4),
    ),
    "all on disjoint axes": Case(
        {"all": [random("t", 0.5), random("hw", 0.75)]},
        lambda grid: over("t")(grid) and over("hw", lambda num_positions: num_positions >= 4)(grid),
        lambda grid: (grid["t"] - grid["t"] // 2) * (plane(grid) - plane(grid) // 4),
    ),
    "any with a ratio": Case(
        {"any": [{"name": "random", "ratio": 0.5}, {"name": "block", "ratio": 0.5}], "ratio": 0.75},
        lambda grid: HAS_PLANE(grid) and grid.num_patches >= 4,
        lambda grid: grid.num_patches - grid.num_patches // 4,
        uniform=False,
    ),
    "all, ragged": Case({"all": [random("hw", 0.5), {"name": "random", "ratio": 0.5}], "ragged": True}, HAS_PLANE),
    "one of two, for a batch": Case(
        {"one_of": [{"masker": {"name": "random", "ratio": 0.5}, "weight": 2}, random("t", 0.5)]},
        over("t"),
        independent=False,
    ),
    "one of two, for each sample": Case(
        {"one_of": [{"name": "random", "ratio": 0.5}, random("hw", 0.5)], "per": "sample"},
        lambda grid: HAS_PLANE(grid) and (tubes(grid) == 1 or grid.num_patches // 2 == tubes(grid) * (plane(grid) // 2)),
        lambda grid: grid.num_patches - grid.num_patches // 2,
    ),
    "a schedule": Case(
        {"schedule": {"name": "random", "over": ["h", "w"]}, "ratio": {"from": 0.25, "to": 0.75}},
        over("hw", lambda num_positions: num_positions >= 4),
        lambda grid: tubes(grid) * (plane(grid) - plane(grid) // 4),
    ),
    "invert": Case(
        {"invert": {"name": "random", "ratio": 0.25}},
        lambda grid: grid.num_patches > 1,
        lambda grid: grid.num_patches * 3 // 4,
    ),
    "repeat": Case(
        {"repeat": {"name": "inverse_block", "ratio": 0.75}, "times": 4},
        over("hw", lambda num_positions: num_positions >= 4),
        lambda grid: tubes(grid) * (plane(grid) - plane(grid) // 4),
        uniform=False,
    ),
    "nested": Case(
        {"any": [random("t", 0.5), {"invert": {"all": [random("h", 0.5), random("w", 0.5)]}}]},
        each_axis(at_least=2),
        lambda grid: grid.num_patches - grid["t"] // 2 * (grid["h"] - grid["h"] // 2) * (grid["w"] - grid["w"] // 2),
    ),
    "none inside": Case(
        {"any": [random("hw", 0.5), {"one_of": ["none", random("t", 0.5)]}]},
        lambda grid: over("t")(grid) and HAS_PLANE(grid),
        independent=False,
    ),
}

CASES = {f"{name} {index}": case for name, cases in REGISTERED.items() for index, case in enumerate(cases)} | COMBINED
