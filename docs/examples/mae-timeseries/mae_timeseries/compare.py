"""Is the model better than guessing? `python -m mae_timeseries.compare RUN FILE.csv ...`, of files that were held out."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.checkpoint import load_model
from mae_registry import MaeError
from mae_timeseries.reading import read_series


def windows(path: Path, num_channels: int, length: int) -> list[Tensor]:
    """All windows of a file that do not overlap."""
    series = read_series(path, num_channels)
    chosen: list[int] = []
    for start in series.starts(length):
        if not chosen or start >= chosen[-1] + length:
            chosen.append(start)
    return [series.window(start, length) for start in chosen]


@torch.no_grad()
def errors(model: MaskedAutoencoder, samples: Tensor, *, seed: int = 0) -> dict[str, float]:
    """Root mean square errors in the hidden values of (B, channels, length), in standard deviations of the training data."""
    parts = model.parts("timeseries")
    x = parts.tokenizer.normalize(samples)
    out = model({"timeseries": x}, generator=torch.Generator().manual_seed(seed), predict="all")
    patches = parts.tokenizer.patchify(x)
    hidden = parts.tokenizer.unpatchify(out.mask["timeseries"].hidden.unsqueeze(-1).expand_as(patches))
    guesses = {
        "the model": parts.tokenizer.unpatchify(parts.target.to_patches(out.pred["timeseries"], patches)),
        "linear interpolation": interpolate(x, hidden),
        "the channel's mean": torch.zeros_like(x),
    }
    return {name: float((guess - x)[hidden].square().mean().sqrt()) for name, guess in guesses.items()}


def interpolate(x: Tensor, hidden: Tensor) -> Tensor:
    """A straight line across each hidden span; beyond the first and the last seen value, that value."""
    filled = x.clone()
    steps = np.arange(x.shape[-1])
    for row, row_hidden in zip(filled.flatten(0, 1).numpy(), hidden.flatten(0, 1).numpy(), strict=True):
        row[row_hidden] = np.interp(steps[row_hidden], steps[~row_hidden], row[~row_hidden])
    return filled


def main(run: str, *files: str) -> None:
    """Print the errors."""
    model, _, _ = load_model(Path(run))
    sample_shape = model.parts("timeseries").tokenizer.sample_shape
    samples = torch.stack([window for file in files for window in windows(Path(file), *sample_shape)])
    print(f"error in the hidden values of {len(samples)} windows, in standard deviations")
    for name, error in errors(model.eval(), samples).items():
        print(f"{error:8.3f}  {name}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m mae_timeseries.compare RUN FILE.csv ...")
    try:
        main(*sys.argv[1:])
    except MaeError as error:
        sys.exit(f"error: {error}")
