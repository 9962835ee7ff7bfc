"""What a picture of a reconstruction shows, whatever the modality. Nothing is pasted in unsaid."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mae_core.interfaces import Reconstruction

RAW_RANGE = 2.0
"""Standard deviations of a patch that raw predictions are drawn up to, either side of the middle."""
FONT = ImageFont.load_default(size=14)
LINE_HEIGHT = 18


@dataclass(frozen=True)
class Panel:
    """Values of a sample's shape under a heading; NaN where there are none."""

    heading: str
    values: Tensor
    is_raw: bool = False
    """Of patches normalised by their own statistics, around 0, to be drawn from -RAW_RANGE to RAW_RANGE."""


def panels(reconstruction: Reconstruction) -> list[Panel]:
    """The original, what the encoder saw, and what the model made of it; raw too, where drawing it took the true patches."""
    sample, prediction = reconstruction.sample.cpu().float(), reconstruction.prediction.cpu().float()
    hidden = reconstruction.hidden.cpu().expand_as(sample)
    gaps = "; empty: not predicted" if bool(prediction.isnan().any()) else ""
    shown = [Panel("original", sample), Panel("masked: what the encoder sees", sample.masked_fill(hidden, torch.nan))]
    if reconstruction.raw is None:
        shown.append(Panel(f"reconstruction: the model's output{gaps}", prediction))
    else:
        heading = f"output, denormalised with the hidden patches' true mean and variance{gaps}"
        shown.append(Panel(heading, prediction))
        heading = f"raw normalised prediction, {-RAW_RANGE:g} to {RAW_RANGE:g}"
        shown.append(Panel(heading, reconstruction.raw.cpu().float(), is_raw=True))
    pasted = torch.where(hidden, prediction, sample)
    return [*shown, Panel(f"output with the visible patches pasted in{gaps}", pasted)]


def facts(reconstruction: Reconstruction) -> list[str]:
    """Lines for the label of a reconstruction; its title on one line, whatever a file is called."""
    title = " ".join(reconstruction.title.encode(errors="replace").decode().split())
    ratio = f"mask ratio {100 * reconstruction.mask_ratio:.3g}%"
    return [line for line in (title, reconstruction.note, ratio, f"loss {reconstruction.loss:.4f}") if line]


def tile(panel: Tensor, *, is_raw: bool, factor: int) -> Image.Image:
    """(C, H, W), 0 to 1 or raw -> RGB, enlarged. Other than 3 channels are drawn as their mean, grey; NaN is middle grey."""
    values = 0.5 + panel / (2 * RAW_RANGE) if is_raw else panel
    if values.shape[0] != 3:
        values = values.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (values.nan_to_num(0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    small = Image.fromarray(pixels.numpy())
    return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)


def shorten(text: str, width: int) -> str:
    """`text` on one line of `width` pixels, its middle left out where it is longer: both ends of a file's name tell."""
    short, num_kept = text, len(text)
    while FONT.getlength(short) > width:
        num_kept -= 1
        short = f"{text[: num_kept // 2]}…{text[len(text) - (num_kept - num_kept // 2) :]}"
    return short


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, as far as its words allow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write_lines(canvas: ImageDraw.ImageDraw, origin: tuple[int, int], lines: Sequence[str]) -> None:
    """Lines below one another, from their left upper corner on."""
    for number, line in enumerate(lines):
        canvas.text((origin[0], origin[1] + number * LINE_HEIGHT), line, fill="black", font=FONT)
