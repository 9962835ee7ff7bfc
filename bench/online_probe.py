"""What the online probe costs, as a share of a run with its default number of samples: seconds to probe over seconds to train.

    python bench/online_probe.py [RECIPE...] [--batch 16] [--rounds 5] [--samples 1000]

Data is random and in memory, so that only computing is compared. A CUDA device is used where there is one, in bf16.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import mae_core
from mae_core.evaluation.features import Readout, encode
from mae_core.evaluation.knn import USUAL_K, classify
from mae_core.evaluation.linear_heads import Standardizer, train_heads
from mae_core.evaluation.online_probe import BUDGET, HELD_OUT_SHARE, NUM_STEPS, RATE
from mae_core.interfaces import Sample
from mae_core.parts.optimizers import adamw
from mae_core.testing.parts import random_sample

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NUM_CLASSES = 10
RECIPES = ("image/cifar10_small", "image/mae_vit_base", "video/videomae_base")


def seconds(run: Callable[[], object], rounds: int) -> float:
    """The median, after a round of warming up."""
    times = []
    for turn in range(rounds + 1):
        started = time.perf_counter()
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        if turn:
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(recipe: str, batch: int, rounds: int, num_samples: int) -> tuple[float, float, float]:
    """Seconds to train on a sample, to encode one, and per sample of a probe to try k-NN and the linear head."""
    model = mae_core.build_model(mae_core.load_config(recipe)).to(DEVICE)
    entry = next(iter(model.modalities))
    tokenizer = model.parts(entry).tokenizer
    raw = random_sample(tokenizer)[:1].to(DEVICE)
    raw = raw.repeat(batch, *[1] * (raw.ndim - 1))
    x, optimizer, generator = tokenizer.normalize(raw), adamw(model, batch, lr=1e-6), torch.Generator().manual_seed(0)

    def train() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model({entry: x}, generator=generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def probe() -> None:
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            encode(model.backbone, {entry: Sample(raw)}, readouts=[Readout()])

    features, labels = torch.randn(num_samples, model.backbone.encoder.width), torch.arange(num_samples) % NUM_CLASSES
    num_held_out = round(HELD_OUT_SHARE * num_samples)

    def judge() -> None:
        bank, queries = features[num_held_out:], features[:num_held_out]
        classify(bank, labels[num_held_out:], queries, labels[:num_held_out], num_classes=NUM_CLASSES, ks=[USUAL_K])
        standard, known = Standardizer.of(bank)(bank).to(DEVICE), labels[num_held_out:].to(DEVICE)
        train_heads(standard, known, num_classes=NUM_CLASSES, rates=[RATE], decays=[0.0], num_steps=NUM_STEPS)

    return seconds(train, rounds) / batch, seconds(probe, rounds) / batch, seconds(judge, rounds) / num_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1000, help="of each probe")
    options = parser.parse_args()
    torch.manual_seed(0)
    for recipe in options.recipes:
        train, encoding, judging = measure(recipe, options.batch, options.rounds, options.samples)
        share = BUDGET * (encoding + judging) / train
        print(
            f"{recipe:24} {DEVICE}: training {1e3 * train:8.2f} ms a sample, encoding {encoding / train:5.2f} of that, "
            f"k-NN and linear head {judging / train:5.2f}; the default probe is {share:.2%} of a run"
        )


if __name__ == "__main__":
    main()
