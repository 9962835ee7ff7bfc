"""`mae verify timeseries`: what this plugin claims, measured."""

import torch

from mae_core.interfaces import Check
from mae_timeseries.tokenizer import TimeseriesPatches


def certify() -> list[Check]:
    """There are no published numbers to compare with; so that no value is lost between series and patches."""
    tokenizer = TimeseriesPatches(4, length=60, patch_length=12, channels=2, mean=(0.5, -1.0), std=(2.0, 3.0))
    x = torch.randn(3, 2, 60, generator=torch.Generator().manual_seed(0))
    again = tokenizer.unpatchify(tokenizer.patchify(x))
    return [Check("series to patches and back", float((again - x).abs().max()), 0)]
