"""Which digit is spoken, told from frozen features: of a run's encoder, of the same encoder untrained, and of log-mel frames.

    python bench/audio_probe.py RUN FOLDER [--neighbours 5]

FOLDER holds recordings named DIGIT_SPEAKER_INDEX.wav (the Free Spoken Digit Dataset); indices 0 to 4 are the test split, as
usual there; leave them out of pre-training too. Every feature is a sequence over the sounding part of a recording (an
encoder's tokens are averaged over frequency), pooled in three ways: its mean; mean and deviation; the means of its four
quarters. Features are standardised. k-NN goes by cosine; the linear probe is logistic regression.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mae_audio.datasets import AudioFolder
from mae_core import build_model
from mae_core.model.backbone import Backbone
from mae_core.runs.checkpoint import load_model

MAX_TEST_INDEX = 4
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(0),
    "mean, deviation": lambda x: torch.cat([x.mean(0), x.std(0, correction=0)]),
    "quarters": lambda x: F.adaptive_avg_pool1d(x.T, 4).flatten(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder")
    parser.add_argument("--neighbours", type=int, default=5)
    options = parser.parse_args()
    trained, config, step = load_model(options.run)
    torch.manual_seed(0)
    untrained = build_model(config).eval()
    folder = AudioFolder(trained.parts("audio").tokenizer.sample_shape, root=options.folder)
    names = [Path(folder.describe(index)).stem.split("_") for index in range(len(folder))]
    digits = np.array([int(digit) for digit, _, _ in names])
    is_test = np.array([int(number) <= MAX_TEST_INDEX for _, _, number in names])

    features: dict[str, list[Tensor]] = {"log-mel": [], "untrained": [], f"step {step}": []}
    for index in track(range(len(folder)), description="encoding"):
        spectrogram = folder.read(index)
        frames = spectrogram[0, : num_sounding(spectrogram[0])]
        tokens = [token_times(model.backbone, spectrogram, len(frames)) for model in (untrained, trained)]
        for sequences, sequence in zip(features.values(), (frames, *tokens), strict=True):
            sequences.append(sequence)

    print(f"{is_test.sum()} test and {(~is_test).sum()} training recordings; accuracies")
    print(f"{'features':14}{'pooled':18}{'size':>6}{f'{options.neighbours}-NN':>8}{'linear':>8}")
    for name, sequences in features.items():
        for pooling, pool in POOLINGS.items():
            pooled = torch.stack([pool(sequence) for sequence in sequences]).numpy()
            nearest = KNeighborsClassifier(options.neighbours, metric="cosine")
            scores = [
                make_pipeline(StandardScaler(), classifier)
                .fit(pooled[~is_test], digits[~is_test])
                .score(pooled[is_test], digits[is_test])
                for classifier in (nearest, LogisticRegression(C=0.1, max_iter=2000))
            ]
            print(f"{name:14}{pooling:18}{pooled.shape[1]:6}{scores[0]:8.3f}{scores[1]:8.3f}", flush=True)


def num_sounding(frames: Tensor) -> int:
    """Frames before the zeros that a short recording is padded with, at least one."""
    return max(1, int(frames.any(dim=1).sum()))


@torch.no_grad()
def token_times(backbone: Backbone, spectrogram: Tensor, num_frames: int) -> Tensor:
    """(times, D): the latents of one recording's patches that begin within its first `num_frames`, averaged over frequency."""
    tokenizer = backbone.input("audio").tokenizer
    tokens = backbone.encode({"audio": tokenizer.normalize(spectrogram.unsqueeze(0))}).tokens[0]
    times = tokens.unflatten(0, tokenizer.grid.sizes).mean(1)
    return times[: math.ceil(num_frames / spectrogram.shape[1] * len(times))]


if __name__ == "__main__":
    main()
