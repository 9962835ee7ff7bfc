"""Photographs -> training crops, one core: images per second of `image_folder` and of the published recipe's PIL pipeline.

    python bench/image_loading.py FOLDER [--images 400] [--rounds 5]

Rounds alternate, so that a busy machine slows both alike; the medians and their ratio are printed. `image_folder` gives uint8
and leaves the normalisation to the device, where it is nearly free; the second row normalises on this core for comparison.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from random import Random

import torch
from PIL import Image
from torchvision import transforms

from mae_image.datasets import ImageFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)

    folder = ImageFolder((3, 224, 224), root=options.folder)
    num_images = min(options.images, len(folder))
    published = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    normalize = transforms.Normalize(MEAN, STD)

    def with_pil(index: int) -> object:
        with Image.open(folder.describe(index)) as image:
            return published(image.convert("RGB"))

    pipelines: dict[str, Callable[[int], object]] = {
        "PIL pipeline": with_pil,
        "image_folder, normalised here": lambda index: normalize(folder.load(index, random=Random(index)) / 255),
        "image_folder": lambda index: folder.load(index, random=Random(index)),
    }
    for index in range(num_images):  # bring the files into memory: the disk is not what is compared
        with_pil(index)
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(options.rounds):
        for name, load in pipelines.items():
            start = time.perf_counter()
            for index in range(num_images):
                load(index)
            rates[name].append(num_images / (time.perf_counter() - start))
    slow = statistics.median(rates["PIL pipeline"])
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:32}{rate:7.0f} images/s  {rate / slow:5.2f} x PIL")


if __name__ == "__main__":
    main()
