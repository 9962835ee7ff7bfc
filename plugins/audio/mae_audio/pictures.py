"""Reconstructions to look at and to listen to: every column says what it shows, and nothing is pasted in unsaid."""

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mae_audio.fbank import FRAMES_PER_SECOND, SAMPLE_RATE
from mae_audio.sounds import to_wave
from mae_core.files import write_atomically
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import RAW_RANGE, facts, headings, panels
from mae_core.pictures.text import legible

COLUMN_WIDTH, ROW_HEIGHT, HEADER_HEIGHT = 3.4, 2.2, 0.5
"""Inches, of 100 pixels."""
MAX_HEADING = 38
MAX_TITLE = 30
PADDING_TOLERANCE = 1e-3


def write_picture(reconstructions: Sequence[Reconstruction], path: str | os.PathLike[str]) -> Sequence[Path]:
    """Write a PNG, one row a reconstruction, and beside it what each row sounds like: `STEM-ROW-original.wav`, `...-output.wav`
    and `...-pasted.wav`.

    All three are made from spectrograms in the same way, so that they differ by what the model did alone; they are as loud as
    the loudest of them may be. Returns the paths of all. Raises MaeError if a file cannot be written, or there is nothing to
    show.
    """
    path = Path(path)
    figure = compose(reconstructions)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))
    written = [path]
    for row, reconstruction in enumerate(reconstructions, start=1):
        for what, wave in sounds(reconstruction).items():
            written.append(path.with_name(f"{path.stem}-{row}-{what}.wav"))
            _write_wave(written[-1], wave)
    return written


def write_sample(sample: Tensor, path: Path) -> None:
    """Write a PNG of one spectrogram (1, frames, mel bins): seconds to the right, mel bins up."""
    figure = Figure((COLUMN_WIDTH, ROW_HEIGHT), layout="constrained")
    values = sample[0].cpu().float()
    low, high = float(values.min()), float(values.max())
    axis = figure.subplots()
    _show(axis, values, limits=(low, max(high, low + 1e-3)), is_raw=False)
    axis.set_xlabel("seconds", fontsize=8)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))


def sounds(reconstruction: Reconstruction) -> dict[str, Tensor]:
    """Waves (samples,) of 16 kHz within -1 and 1, by what they are; without the padding at the end of a short clip.

    Nothing is louder than the original's loudest mel bin: what a model says of visible patches, which no loss looks at, may be
    anything, and would drown the rest.
    """
    shown = panels(reconstruction)
    num_frames = _num_sounding_frames(shown[0].values[0])
    chosen = {"original": shown[0], "output": shown[2], "pasted": shown[-1]}
    highest = float(shown[0].values[0, :num_frames].max())
    waves = {what: to_wave(panel.values[0, :num_frames].clamp(max=highest)) for what, panel in chosen.items()}
    loudest = max(float(wave.abs().max()) for wave in waves.values())
    return {what: wave / max(1.0, loudest) for what, wave in waves.items()}


def compose(reconstructions: Sequence[Reconstruction]) -> Figure:
    """What `write_picture` writes: seconds to the right, mel bins up; one colour scale a row, the original's range."""
    num_rows, num_columns = len(reconstructions), len(headings(reconstructions))
    figure = Figure((COLUMN_WIDTH * num_columns, ROW_HEIGHT * num_rows + HEADER_HEIGHT), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for row, (axes, reconstruction) in enumerate(zip(grid, reconstructions, strict=True)):
        original = reconstruction.sample
        low, high = float(original.min()), float(original.max())
        for axis, panel in zip(axes, panels(reconstruction), strict=True):
            limits = (-RAW_RANGE, RAW_RANGE) if panel.is_raw else (low, max(high, low + 1e-3))
            _show(axis, panel.values[0], limits=limits, is_raw=panel.is_raw)
            if row == 0:
                axis.set_title(textwrap.fill(panel.heading, MAX_HEADING), fontsize=9)
        axes[0].set_ylabel(_label(row + 1, reconstruction), fontsize=8, parse_math=False)
        figure.colorbar(axes[0].images[0], ax=list(axes), label="log power", pad=0.01, aspect=15)
    for axis in grid[-1]:
        axis.set_xlabel("seconds", fontsize=8)
    return figure


def _show(axis: Axes, values: Tensor, *, limits: tuple[float, float], is_raw: bool) -> None:
    num_frames, num_mels = values.shape
    colours = matplotlib.colormaps["PuOr" if is_raw else "magma"].with_extremes(bad="0.7")
    extent = (0.0, num_frames / FRAMES_PER_SECOND, 0.0, float(num_mels))
    low, high = limits
    axis.imshow(values.T.numpy(), origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=low, vmax=high)
    axis.tick_params(labelsize=7)


def _label(row: int, reconstruction: Reconstruction) -> str:
    title, *others = facts(reconstruction)
    title = legible(title)
    if len(title) > MAX_TITLE:  # both ends of a file's name tell
        title = f"{title[: MAX_TITLE // 2 - 1]}…{title[-MAX_TITLE // 2 :]}"
    return "\n".join([f"{row}: {title}", *others, "mel bin"])


def _num_sounding_frames(spectrogram: Tensor) -> int:
    """Frames up to the zeros that a short clip is padded with; at least one."""
    sounding = (spectrogram.abs() > PADDING_TOLERANCE).any(dim=1).nonzero()
    return int(sounding[-1]) + 1 if len(sounding) else 1


def _write_wave(path: Path, wave: Tensor) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.numpy(), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
