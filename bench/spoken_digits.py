"""Which digit is spoken: features of a pre-trained encoder beside those of an untrained one and log-mel frames.

    python bench/spoken_digits.py RECORDINGS runs/spoken_digits

RECORDINGS holds files named DIGIT_SPEAKER_INDEX.wav (the Free Spoken Digit Dataset). Indices 0 to 4 are the test split, as
usual there, 5 to 9 the validation split, and the others train encoders and classifiers. What is finished is not done again.

Features are the frames or tokens of the sounding part of a recording, without its padding, pooled in three ways, and brought to
mean 0 and variance 1. The pooling, and the k of k-NN or the learning rate of a linear head, are those that are best on the
validation split on average over the seeds. Only these are measured on the test split, after learning from all the others.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_audio.datasets import AudioFolder
from mae_core import load_backbone
from mae_core.build import build_backbone
from mae_core.config import load_config
from mae_core.data.tables import write_table
from mae_core.evaluation.fast_probe import RATES
from mae_core.evaluation.features import Readout, encode
from mae_core.evaluation.knn import classify
from mae_core.evaluation.linear_heads import Standardizer, train_heads
from mae_core.interfaces import Sample, as_sample
from mae_core.training.validation import undisturbed

RECIPE, SPLITS, TOKENS = "audio/spoken_digits", ("train", "val", "test"), Readout("tokens")
SEEDS, STEPS = range(3), 500
SETTINGS: Mapping[str, Sequence[float]] = {"k-NN": (1, 5, 10, 20), "linear": RATES}
POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(0),
    "mean and deviation": lambda x: torch.cat([x.mean(0), x.std(0, correction=0)]),
    "quarters": lambda x: F.adaptive_avg_pool1d(x.T, 4).flatten(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    out, table = options.out, options.out.resolve() / "digits.csv"
    names = [(str(path), path.stem.split("_")) for path in sorted(options.recordings.resolve().glob("*_*_*.wav"))]
    write_table(table, ((path, digit, split_of(int(index))) for path, (digit, _, index) in names))
    for seed in SEEDS:
        pretrain(out / f"pretrained-{seed}", table, seed)
    data = Recordings(table)
    for kind, classifier in product(("log-mel", "untrained", "pretrained"), SETTINGS):
        file = out / f"{kind}-{classifier}.json"
        if not file.exists():
            features = [data.features(kind, out / f"pretrained-{seed}", seed) for seed in SEEDS]
            file.write_text(json.dumps(measure(data, classifier, features)))
        frames = json.loads((out / f"log-mel-{classifier}.json").read_text())["right"]
        print(kind, classifier, describe(json.loads(file.read_text()), frames), sep=" | ", flush=True)


def split_of(index: int) -> str:
    """As the last part of a name says."""
    return "test" if index < 5 else "val" if index < 10 else "train"


def pretrain(folder: Path, table: Path, seed: int) -> None:
    """On the training split, unless it is finished; a run goes on where it was interrupted."""
    if not (folder / "encoder.safetensors").exists():
        data = [f"data.audio.labels={table}", f"data.audio.split={SPLITS[0]}", f"train.seed={seed}"]
        resume = ["--resume"] if (folder / "config.yaml").exists() else []
        words = [sys.executable, "-m", "mae_core.cli", "pretrain", RECIPE, *data, "--out", str(folder), *resume]
        subprocess.run(words, check=True)


class Recordings:
    """Spectrograms (S, 1, frames, mels), digits (S,) and the rows of each split."""

    def __init__(self, table: Path) -> None:
        self.config = load_config(RECIPE)
        shape = build_backbone(self.config).input("audio").tokenizer.sample_shape
        folders = [AudioFolder(shape, labels=str(table), split=split) for split in SPLITS]
        self.spectrograms = torch.stack([as_sample(folder.read(row)).x for folder in folders for row in range(len(folder))])
        self.digits = torch.cat([folder.labels.targets for folder in folders if folder.labels])
        self.rows = torch.arange(len(self.digits)).split([len(folder) for folder in folders])

    def features(self, kind: str, run: Path, seed: int) -> dict[str, Tensor]:
        """(S, D) of each pooling, over what is not padding: that is zeros, which no frame of a sound is."""
        x = self.spectrograms[:, 0] if kind == "log-mel" else self._tokens(kind, run, seed)
        counts, ratio = self.spectrograms[:, 0].any(dim=2).sum(dim=1).tolist(), self.spectrograms.shape[2] // x.shape[1]
        sounding = [times[: math.ceil(count / ratio)] for times, count in zip(x, counts, strict=True)]
        return {name: torch.stack([pool(times) for times in sounding]) for name, pool in POOLINGS.items()}

    def _tokens(self, kind: str, run: Path, seed: int) -> Tensor:
        torch.manual_seed(seed)
        backbone = build_backbone(self.config) if kind == "untrained" else load_backbone(run)
        batches = ({"audio": Sample(x)} for x in self.spectrograms.split(64))
        with undisturbed(backbone):
            return torch.cat([encode(backbone, batch, readouts=[TOKENS])[TOKENS] for batch in batches])

    def right(self, x: Tensor, known: Tensor, asked: Tensor, classifier: str, settings: Sequence[float], seed: int) -> Tensor:
        """(settings, asked) bool: which digits are told right by a classifier that has learned from the rows `known`."""
        x, targets = Standardizer.of(x[known])(x), self.digits[known]
        if classifier == "k-NN":
            votes = classify(x[known], targets, x[asked], self.digits[asked], num_classes=10, ks=[int(k) for k in settings])
            scores = torch.stack(list(votes.scores.values()))
        else:
            decays = [0.0] * len(settings)
            heads = train_heads(x[known], targets, num_classes=10, rates=settings, decays=decays, num_steps=STEPS, seed=seed)
            scores = heads(x[asked]).movedim(1, 0)
        return scores.argmax(dim=2) == self.digits[asked]


def measure(data: Recordings, classifier: str, features: Sequence[Mapping[str, Tensor]]) -> dict[str, object]:
    """Accuracies on the validation split, what they pick, and which test recordings it gets right; of each seed."""
    settings, (train, validation, test) = SETTINGS[classifier], data.rows
    found: dict[tuple[str, float], list[float]] = {}
    for name in POOLINGS:
        right = [data.right(x[name], train, validation, classifier, settings, seed) for seed, x in enumerate(features)]
        accuracies = torch.stack(right, dim=1).double().mean(dim=2).tolist()
        found |= {(name, setting): values for setting, values in zip(settings, accuracies, strict=True)}
    name, setting = max(found, key=lambda picked: statistics.fmean(found[picked]))
    known = torch.cat([train, validation])
    right = [data.right(x[name], known, test, classifier, [setting], seed)[0].tolist() for seed, x in enumerate(features)]
    return {"validation": [(*choice, values) for choice, values in found.items()], "picked": (name, setting), "right": right}


def describe(found: Mapping[str, list[list[bool]]], others: Sequence[Sequence[bool]]) -> str:
    """What was picked and what is right on the test split, in percent, beside what is right with others."""
    values = [round(100 * statistics.fmean(ones), 1) for ones in found["right"]]
    chances = [round(chance(*pair), 4) for pair in zip(found["right"], others, strict=True)]
    return f"{found['picked']} | {statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} of {values} | p {chances}"


def chance(ours: Sequence[bool], others: Sequence[bool]) -> float:
    """The two-sided p of McNemar's exact test: how likely so unequal numbers of wins are if both are equally good."""
    wins, losses = (sum(a > b for a, b in zip(*pair, strict=True)) for pair in ((ours, others), (others, ours)))
    return min(1.0, 2 * sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses))


if __name__ == "__main__":
    main()
