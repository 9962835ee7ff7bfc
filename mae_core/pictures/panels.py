"""What a picture of a reconstruction shows, whatever the modality. Nothing is pasted in unsaid."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae_core.interfaces import Reconstruction
from mae_registry import MaeError

RAW_RANGE = 2.0
"""Standard deviations of a patch that raw predictions are shown up to, either side of the middle."""


@dataclass(frozen=True)
class Panel:
    """Values of a sample's shape under a heading; NaN where there are none."""

    heading: str
    values: Tensor
    is_raw: bool = False
    """Whether patches are normalised by their own statistics, around 0, and are shown from -RAW_RANGE to RAW_RANGE."""


def panels(reconstruction: Reconstruction) -> list[Panel]:
    """The original, what the encoder saw, and what the model made of it; raw too, where showing it took the true patches."""
    sample, prediction = reconstruction.sample.cpu().float(), reconstruction.prediction.cpu().float()
    hidden = reconstruction.hidden.cpu().expand_as(sample)
    shown = [Panel("original", sample), Panel("masked: what the encoder sees", sample.masked_fill(hidden, torch.nan))]
    gaps = "; empty: not predicted" if bool(prediction.isnan().any()) else ""
    if reconstruction.raw is None:
        shown.append(Panel(f"reconstruction: the model's output{gaps}", prediction))
    else:
        heading = f"output, denormalised with the hidden patches' true mean and variance{gaps}"
        shown.append(Panel(heading, prediction))
        heading = f"raw normalised prediction, {-RAW_RANGE:g} to {RAW_RANGE:g}"
        shown.append(Panel(heading, reconstruction.raw.cpu().float(), is_raw=True))
    pasted = torch.where(hidden, prediction, sample)
    return [*shown, Panel(f"output with the visible patches pasted in{gaps}", pasted)]


def headings(reconstructions: Sequence[Reconstruction]) -> list[str]:
    """The headings of the panels. Raises MaeError if there are no reconstructions."""
    if not reconstructions:
        raise MaeError("there is nothing to show: none of the samples could be read")
    return [panel.heading for panel in panels(reconstructions[0])]


def facts(reconstruction: Reconstruction) -> list[str]:
    """Lines for the label of a reconstruction; its title on one line, whatever a file is called."""
    title = " ".join(reconstruction.title.encode(errors="replace").decode().split())
    ratio = f"mask ratio {100 * reconstruction.mask_ratio:.3g}%"
    return [line for line in (title, reconstruction.note, ratio, f"loss {reconstruction.loss:.4f}") if line]
