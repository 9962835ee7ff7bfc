"""The positions of the published Audio-MAE."""

from mae_core.interfaces import Grid
from mae_core.parts.positions import SinCos


class SwappedSinCos(SinCos):
    """Fixed sine-cosine positions of the grid with its axes swapped, as the published Audio-MAE has them.

    Patches are numbered time-major on (64, 8), but their positions are those of a grid of (8, 64) in raster order: patch 64,
    the first at time 8, gets the position of the second frequency at time 0. Every patch still has a position of its own; near
    and far are scrambled. `sincos` has them in order.
    """

    def __init__(self, grid: Grid, width: int) -> None:
        sizes = dict(zip(grid.axes, grid.sizes, strict=True))
        super().__init__(Grid(**dict(reversed(sizes.items()))), width)
