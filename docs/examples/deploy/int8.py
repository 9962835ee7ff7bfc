"""An ONNX encoder with weights of 8 bits: what it costs in accuracy, and what it saves.

python docs/examples/deploy/int8.py encoder.onnx DATA     (DATA has train/ and test/ with a folder for each class)
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from PIL import Image
from torch import Tensor

from mae_core.evaluation.knn import USUAL_K, classify

BATCH_SIZE = 50


@dataclass(frozen=True)
class Samples:
    """Images (N, 3, H, W) uint8, and the class of each (N,)."""

    images: np.ndarray
    labels: Tensor


def read(folder: Path, each: int) -> Samples:
    """The first images of every class."""
    files = [(path, label) for label, place in enumerate(sorted(folder.iterdir())) for path in sorted(place.iterdir())[:each]]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path, _ in files])
    return Samples(images, torch.tensor([label for _, label in files]))


class Encoder:
    """A file on one thread of the CPU."""

    def __init__(self, path: Path) -> None:
        self.megabytes = path.stat().st_size / 1e6
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: np.ndarray) -> Tensor:
        """(N, D)."""
        return torch.from_numpy(np.concatenate(list(self._batches(images))))

    def milliseconds(self, images: np.ndarray) -> float:
        """Of one image, in the fastest of five batches."""
        times: list[float] = []
        for _ in range(5):
            start = time.perf_counter()
            self(images[:BATCH_SIZE])
            times.append(time.perf_counter() - start)
        return min(times) / len(images[:BATCH_SIZE]) * 1000

    def _batches(self, images: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(images), BATCH_SIZE):
            yield np.asarray(self._session.run(["features"], {"samples": images[first : first + BATCH_SIZE]})[0])


def quantized(path: Path) -> Path:
    """Write the file with weights of 8 bits beside the other; what flows through it is rounded as it comes."""
    small = path.with_suffix(".int8.onnx")
    quantize_dynamic(path, small, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"])
    return small


def compare(path: Path, bank: Samples, queries: Samples) -> dict[str, float]:
    """Print a table; returns the accuracy of each."""
    accuracies: dict[str, float] = {}
    num_classes = int(bank.labels.max()) + 1
    print("weights  MB      ms an image  k-NN")
    for name, file in (("float32", path), ("int8", quantized(path))):
        encoder = Encoder(file)
        votes = classify(
            encoder(bank.images), bank.labels, encoder(queries.images), queries.labels, num_classes=num_classes, ks=[USUAL_K]
        )
        accuracies[name] = votes.accuracy(votes.k)
        print(f"{name:7}  {encoder.megabytes:<6.1f}  {encoder.milliseconds(queries.images):<11.2f}  {accuracies[name]:.1%}")
    return accuracies


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare an ONNX encoder with itself in 8 bits.")
    parser.add_argument("encoder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--each", type=int, default=1000, help="images of each class in train/; a third as many of test/")
    options = parser.parse_args()
    compare(options.encoder, read(options.data / "train", options.each), read(options.data / "test", options.each // 3))
