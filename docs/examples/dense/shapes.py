"""Photographs of scikit-image with discs and boxes painted onto them, whose masks are known: detection without a data set."""

from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor

PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
CLASSES = ("background", "disc", "box")
SIZE = (96, 128)
"""Height and width."""


def painted(number: int, *, num_shapes: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Photograph `number`, (3, *SIZE) in 0..1, and what torchvision's detectors learn from: "boxes", "labels" and "masks"."""
    random = np.random.default_rng(number)
    path = Path(skimage.__file__).parent / "data" / PHOTOGRAPHS[number % len(PHOTOGRAPHS)]
    with Image.open(path) as photograph:
        pixels = np.asarray(photograph.convert("RGB").resize((SIZE[1], SIZE[0]))).copy()
    labels = random.integers(1, len(CLASSES), num_shapes)
    masks = np.stack([_mask(random, is_disc=CLASSES[label] == "disc") for label in labels])
    for index, own in enumerate(masks):
        pixels[own] = random.integers(0, 256, 3)
        masks[:index] &= ~own  # a later shape covers the earlier ones
    seen = masks.sum((1, 2)) > 20
    boxes = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in (np.nonzero(mask) for mask in masks[seen])]
    target = {
        "boxes": torch.tensor(np.array(boxes), dtype=torch.float32),
        "labels": torch.from_numpy(labels[seen]),
        "masks": torch.from_numpy(masks[seen].astype(np.uint8)),
    }
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255, target


def label_map(target: dict[str, Tensor]) -> Tensor:
    """(H, W) int64: the class of each pixel, 0 where there is no shape."""
    return (target["masks"].long() * target["labels"][:, None, None]).amax(0)


def _mask(random: np.random.Generator, *, is_disc: bool) -> np.ndarray:
    side = random.integers(20, 48)
    top, left = random.integers(0, SIZE[0] - side), random.integers(0, SIZE[1] - side)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    if is_disc:
        return (y - top - side / 2) ** 2 + (x - left - side / 2) ** 2 < (side / 2) ** 2
    return (abs(y - top - side / 2) < side / 2) & (abs(x - left - side / 2) < side / 2)
