"""Running-cell masking of the decoder (VideoMAE V2, Wang et al. 2023, section 3.2)."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from mae_core.interfaces import Grid, Mask, Masker
from mae_core.masking import RandomMasker
from mae_core.masking.counts import Ratio, Truncate
from mae_registry import ConfigError

NUM_PHASES = 4


class RunningCellMasker(Masker):
    """Random masking for the encoder, of tubes by default; the decoder predicts one half of all patches, in running cells.

    In a cell of 2 x 2 patches two neighbours in raster order are predicted, and from one time to the next the pair moves on by
    one. The phase is drawn for each sample. Predicted patches that the encoder saw do not count in the loss; hidden patches
    that are not predicted are neither.

    Args:
        ratio, over, truncate: of the encoder's mask; see the masker `random`.
    """

    def __init__(self, *, ratio: Ratio, over: Sequence[str] = ("h", "w"), truncate: Truncate = "hidden") -> None:
        super().__init__()
        self.encoder = RandomMasker(ratio=ratio, over=over, truncate=truncate)

    def forward(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> Mask:
        """A mask on the CPU; see the class."""
        mask = self.encoder(grid, batch_size, generator=generator)
        phases = torch.randint(NUM_PHASES, (batch_size,), generator=generator)
        predicted = Mask.from_hidden(running_cells(grid, phases)).ids_predict
        return mask.asking(predicted)

    def with_ratio(self, ratio: float) -> Self:
        """The same masker with another ratio of the encoder's mask."""
        return self.view(encoder=self.encoder.with_ratio(ratio))


def running_cells(grid: Grid, phases: Tensor) -> Tensor:
    """(B,) phases -> (B, N) bool, True = predicted. Raises ConfigError unless the grid has time and even height and width."""
    if len(grid.sizes) != 3 or grid.sizes[1] % 2 or grid.sizes[2] % 2:
        raise ConfigError(
            f"running cells are 2 x 2 patches that move with time, but the grid is {grid}; "
            "it needs three axes, the last two of even size"
        )
    t, h, w = grid.coordinates().unbind(1)
    place_in_cell = h % 2 * 2 + w % 2
    return (place_in_cell + t + phases[:, None]) % NUM_PHASES >= 2
